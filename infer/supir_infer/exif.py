"""What a photo says about itself (date, camera, author, place, print resolution), carried into the result.

Place in the flow: `images` reads it with the pixels, `saving` writes it into the result.
The law it keeps: only what stays true of the restored picture is carried. Left out: the orientation (it is in
the pixels now), sizes and colour space of the old file, embedded thumbnails and the maker's private block,
which may hold one.
Limits: the resolution in DPI is carried as it is, so an enlarged picture prints larger.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from PIL import ExifTags, Image

IFD_0 = ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright", "HostComputer")
DROPPED = ("MakerNote", "ExifImageWidth", "ExifImageHeight", "ExifInteroperabilityOffset", "ColorSpace")
# What Pillow raises for tags that are not what their type says.
DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
MAX_BYTES = 2**16 - 3  # what one JPEG segment can hold; more is no description of a photo


def kept_exif(image: Image.Image) -> bytes:
    """Returns the EXIF block for the result, b"" where there is nothing to carry.

    Raises:
        ValueError: the block is damaged or too large to be carried.
    """
    try:
        block = _block(image)
    except DAMAGED as error:
        raise ValueError(f"damaged ({' '.join(str(error).split())})") from error
    if len(block) > MAX_BYTES:
        raise ValueError(f"{len(block)} bytes, more than {MAX_BYTES}")
    return block


def resolution(image: Image.Image) -> tuple[float, float] | None:
    """Returns the resolution in dots an inch, (x, y), or None where the file states none that can be."""
    dpi: Any = image.info.get("dpi")
    try:
        horizontal, vertical = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    usable = all(math.isfinite(value) and 1 <= value <= 1e5 for value in (horizontal, vertical))
    return (horizontal, vertical) if usable else None


def _block(image: Image.Image) -> bytes:
    source, kept = image.getexif(), Image.Exif()
    for name in IFD_0:
        tag = ExifTags.Base[name].value
        if tag in source:
            kept[tag] = source[tag]
    dropped = {ExifTags.Base[name].value for name in DROPPED}
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = {tag: value for tag, value in source.get_ifd(ifd).items() if tag not in dropped}
        if values:
            kept.get_ifd(ifd).update(values)
            kept[ifd.value] = kept.get_ifd(ifd)
    return kept.tobytes() if len(kept) else b""
