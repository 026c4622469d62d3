"""Pictures from files and arrays: every kind becomes RGB in 0..1 the right way up, with its alpha.

Place in the flow: `folder` and `web` read through here; `restore` and `evaluate` get arrays. Reading is `supir_images`'
work: what a viewer shows is what the network sees, and what every other stage sees.
The law it keeps: nothing is repaired silently: what was done stands in `notes`.
Limits: animations give their first frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from supir_images import BadImage, decode, from_pillow, read_header, thumbnail
from supir_images.decoding import to_bytes as to_bytes
from supir_images.decoding import to_unit
from supir_images.opening import naming_damage
from supir_images.orientation import upright, upright_size
from supir_infer.description import iptc_of, xmp_of
from supir_infer.exif import kept_exif, resolution
from supir_infer.saving import Description
from supir_infer.transparency import fill_hidden

RANGE_TOLERANCE = 0.1
"""How far floats may lie outside 0..1, as a filter's ringing does; they are cut off."""

FloatImage = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]


class ImageError(ValueError):
    """A file is no picture that can be read; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture: `rgb` float32 (H, W, 3) in 0..1 sRGB, `alpha` float32 (H, W) in 0..1 or None.

    What is wholly transparent has the colours of what is visible around it, see `transparency`.
    """

    rgb: FloatImage
    alpha: FloatImage | None
    sha256: str
    description: Description
    notes: tuple[str, ...] = ()

    def without_pixels(self) -> Picture:
        """Returns what a result still needs of it: all but its colours."""
        return replace(self, rgb=np.empty((0, 0, 3), np.float32))


def read_picture(path: Path) -> Picture:
    """Returns the picture in the file, the right way up, in sRGB.

    Raises:
        ImageError: the file cannot be read, is no picture, is cut short, too large to decode safely or of a
            mode without an agreed range.
    """
    data = read_file(path)
    return picture_in(data, path.name, hashlib.sha256(data).hexdigest())


def picture_in(data: bytes, name: str, sha256: str) -> Picture:
    """Returns the picture in a file's bytes as `read_picture` does.

    Args:
        data: the whole file.
        name: of the file, for what is said of it.
        sha256: of the file.

    Raises:
        ImageError: as `read_picture`.
    """
    try:
        decoded = decode(data)
        notes = list(decoded.notes)
        with naming_damage(decoded.header.format):
            description = _description(decoded.image, notes)
    except BadImage as error:
        raise ImageError(f"{name}: {error.detail}") from error
    orientation = decoded.header.orientation
    rgb = upright(to_unit(decoded.rgb), orientation)
    alpha = None if decoded.alpha is None else upright(to_unit(decoded.alpha), orientation)
    return Picture(
        rgb=rgb if alpha is None else fill_hidden(rgb, alpha),
        alpha=alpha,
        sha256=sha256,
        description=description,
        notes=tuple(notes),
    )


def read_thumbnail(path: Path, side_px: int) -> ByteImage:
    """Returns the picture as `read_picture` shows it, uint8 (H, W, 3), its longer side at most `side_px`.

    It is made small before anything else, so that little memory is used; transparency lies over mid grey.

    Raises:
        ImageError: as `read_picture`.
    """
    try:
        return thumbnail(read_file(path), side_px)
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error


def stored_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px before the EXIF orientation, from the file's header alone.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        header = read_header(read_file(path))
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error
    return header.width, header.height


def picture_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px after the EXIF orientation, from the file's header.

    Raises:
        ImageError: the header is not one of a picture.
    """
    return size_in(read_file(path), path.name)


def size_in(data: bytes, name: str) -> tuple[int, int]:
    """Returns width and height as `picture_size` does, of a file's bytes; `name` is the file's.

    Raises:
        ImageError: as `picture_size`.
    """
    try:
        header = read_header(data)
    except BadImage as error:
        raise ImageError(f"{name}: {error.detail}") from error
    return upright_size(header.width, header.height, header.orientation)


def to_rgb(image: Image.Image | npt.NDArray[Any]) -> FloatImage:
    """Returns any PIL image or array as float32 (H, W, 3) in 0..1.

    Args:
        image: a PIL image of any mode, or an array (H, W, 3): uint8 0..255 or float 0..1.

    Raises:
        ImageError: the array has another shape or dtype, or the image pixels without an agreed range.
    """
    if isinstance(image, Image.Image):
        try:
            decoded = from_pillow(image)
        except BadImage as error:
            raise ImageError(error.detail) from error
        return upright(to_unit(decoded.rgb), decoded.header.orientation)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"an array of shape {image.shape} is no RGB picture; (H, W, 3) is needed")
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if np.issubdtype(image.dtype, np.floating):
        return _unit_floats(image)
    raise ImageError(f"an array of {image.dtype} is no picture; use uint8 in 0..255 or float in 0..1")


def _unit_floats(image: npt.NDArray[np.floating[Any]]) -> FloatImage:
    lowest, highest = float(image.min()), float(image.max())
    if not (lowest >= -RANGE_TOLERANCE and highest <= 1 + RANGE_TOLERANCE):  # false for NaN too
        raise ImageError(
            f"an array of floats from {lowest:g} to {highest:g} is no picture in 0..1; divide it by its white, as a "
            "rule 255"
        )
    return np.clip(image, 0, 1).astype(np.float32)


def to_deep(values: FloatImage) -> npt.NDArray[np.uint16]:
    """Returns floats 0 to 1 rounded to 0 to 65535; outside they are cut off."""
    return np.round(np.clip(values, 0, 1) * np.float32(65535)).astype(np.uint16)


def resize(image: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Returns `image`, (H, W) or (H, W, C), at (width, height) px: antialiased bicubic, clipped to 0..1."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    channels = [image] if image.ndim == 2 else list(np.moveaxis(image, -1, 0))
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, Image.Resampling.BICUBIC))
        for channel in channels
    ]
    result = resized[0] if image.ndim == 2 else np.stack(resized, axis=-1)
    return np.clip(result, 0, 1).astype(np.float32)


def read_file(path: Path) -> bytes:
    """Returns the bytes of a file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be read: {error.strerror}") from error


def _description(image: Image.Image, notes: list[str]) -> Description:
    return Description(
        exif=_carried("EXIF", kept_exif, image, notes),
        dpi=resolution(image),
        xmp=_carried("XMP", xmp_of, image, notes),
        iptc=_carried("IPTC", iptc_of, image, notes),
    )


def _carried(name: str, read: Callable[[Image.Image], bytes], image: Image.Image, notes: list[str]) -> bytes:
    try:
        return read(image)
    except ValueError as error:
        notes.append(f"{name} not carried over: {error}")
        return b""
