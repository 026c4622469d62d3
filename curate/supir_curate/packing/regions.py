"""The bytes of what is stored of a picture: its own wherever they fit, cut without loss, or encoded once in sRGB.

Place in the flow: `pack`, for each kept picture, with the boxes that `crops` chose. The law: a picture is never
enlarged and never encoded twice, and stands upright without its EXIF orientation; a JPEG at its own scale is cut and
turned in its coefficients, a PNG in its pixels; only what is reduced, what readers would show differently, and what
cannot be cut so is encoded as JPEG, with full-resolution colour.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from supir_curate.packing.crops import Layout
from supir_curate.packing.jpeg_crop import crop, read_coefficients, turn, write_jpeg
from supir_curate.packing.jpeg_stream import NotLosslessError
from supir_images import Header, decode, opaque
from supir_images.colour_source import colour_source
from supir_images.opening import open_image
from supir_images.orientation import upright, upright_box, upright_size

if TYPE_CHECKING:
    from PIL import Image

    from supir_shards import Box

STORABLE = ("jpg", "png", "webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A stored part of a picture, or all of it.

    Args:
        image: the bytes.
        extension: "jpg", "png" or "webp".
        size: width and height of the stored picture in px, upright.
        box: what it shows, in px of the upright original.
        is_original: whether the bytes are the original's, EXIF included.
        reencoded: whether its pixels went through an encoder that loses something.
        converted_to_srgb: whether a colour profile was applied.
        not_lossless: why a JPEG at its own scale had to be encoded again; "" where it had not.
    """

    image: bytes
    extension: str
    size: tuple[int, int]
    box: Box
    is_original: bool = False
    reencoded: bool = False
    converted_to_srgb: bool = False
    not_lossless: str = ""


def store_regions(data: bytes, header: Header, layout: Layout, jpeg_quality: int) -> list[Region]:
    """Returns what is stored of a picture, a region for each box of the layout.

    Args:
        data: its original bytes, which `picture.decode` accepted before.
        header: of them.
        layout: scale and boxes.
        jpeg_quality: where it is encoded, 1 to 100.
    """
    reason = ""
    if (layout.width, layout.height) == (header.width, header.height) and header.is_plain:
        if layout.is_whole and header.orientation == 1 and header.format in STORABLE:
            return [_region(header, layout, layout.boxes[0], data, header.format, is_original=True)]
        if header.format == "png":
            return list(_png_regions(data, header, layout))
        if header.format == "jpg":
            try:
                return list(_jpeg_regions(data, header, layout))
            except NotLosslessError as error:
                reason = str(error)
    return list(_encoded_regions(data, header, layout, jpeg_quality, reason))


def _jpeg_regions(data: bytes, header: Header, layout: Layout) -> Iterator[Region]:
    whole = read_coefficients(data)
    for box in layout.boxes:
        image = write_jpeg(turn(crop(whole, box), header.orientation))
        yield _region(header, layout, box, image, "jpg")


def _png_regions(data: bytes, header: Header, layout: Layout) -> Iterator[Region]:
    from PIL import Image

    whole, _ = open_image(data)
    pixels = np.asarray(whole)
    # Its colour chunks as one profile: gamma and code points would stay behind.
    profile = colour_source("png", data, whole.info.get("icc_profile"), is_grey=whole.mode == "L").profile
    for box in layout.boxes:
        part = Image.fromarray(upright(pixels[box[1] : box[3], box[0] : box[2]], header.orientation))
        yield _region(header, layout, box, _saved(part, "PNG", icc_profile=profile), "png")


def _encoded_regions(
    data: bytes, header: Header, layout: Layout, jpeg_quality: int, not_lossless: str
) -> Iterator[Region]:
    """Yields upright JPEGs, reduced by Lanczos where the layout is smaller than the picture."""
    from PIL import Image

    decoded = decode(data)
    done = {"reencoded": True, "converted_to_srgb": decoded.is_converted, "not_lossless": not_lossless}
    whole = Image.fromarray(opaque(decoded))
    if whole.size != (layout.width, layout.height):
        whole = whole.resize((layout.width, layout.height), Image.Resampling.LANCZOS)
    for box in layout.boxes:
        part = Image.fromarray(upright(np.asarray(whole.crop(box)), header.orientation))
        image = _saved(part, "JPEG", quality=jpeg_quality, subsampling=0, optimize=True)
        yield _region(header, layout, box, image, "jpg", **done)


def _region(header: Header, layout: Layout, box: Box, image: bytes, extension: str, **done: Any) -> Region:
    """Returns a region: what was done, and where it stands in the upright original."""
    size = upright_size(box[2] - box[0], box[3] - box[1], header.orientation)
    scale = header.width / layout.width, header.height / layout.height
    full = tuple(round(edge * scale[axis % 2]) for axis, edge in enumerate(box))
    full_box = upright_box(
        (full[0], full[1], full[2], full[3]), header.width, header.height, header.orientation
    )
    return Region(image=image, extension=extension, size=size, box=full_box, **done)


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, name, **options)
    return sink.getvalue()
