"""Pictures in and out of files: every kind becomes RGB in 0..1 the right way up, with its alpha.

Place in the flow: `folder` and `web` read and write through here; `restore` and `evaluate` get arrays. Reading is
`supir_images`' work: what a viewer shows is what the network sees, and what every other stage sees.
The law it keeps: nothing is repaired silently: what was done stands in `notes`. An output appears complete under its
name or not at all.
Limits: animations give their first frame; output is 8-bit PNG in sRGB.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from supir_images import BadImage, decode, from_pillow, read_header, thumbnail
from supir_images.decoding import to_bytes as to_bytes
from supir_images.decoding import to_unit
from supir_images.opening import naming_damage, open_image
from supir_images.orientation import upright, upright_size
from supir_infer.exif import kept_exif, resolution

METADATA_KEY = "supir"

FloatImage = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]


class ImageError(ValueError):
    """A file is no picture that can be read; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture: `rgb` float32 (H, W, 3) in 0..1 sRGB, `alpha` float32 (H, W) in 0..1 or None.

    `exif` and `dpi` are what a result carries over, see `exif`.
    """

    rgb: FloatImage
    alpha: FloatImage | None
    sha256: str
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read_picture(path: Path) -> Picture:
    """Returns the picture in the file, the right way up, in sRGB.

    Raises:
        ImageError: the file cannot be read, is no picture, is cut short, too large to decode safely or of a
            mode without an agreed range.
    """
    data = _bytes_of(path)
    try:
        decoded = decode(data)
        notes = list(decoded.notes)
        with naming_damage(decoded.header.format):
            exif = _carried(decoded.image, notes)
            dpi = resolution(decoded.image)
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error
    orientation = decoded.header.orientation
    return Picture(
        rgb=upright(to_unit(decoded.rgb), orientation),
        alpha=None if decoded.alpha is None else upright(to_unit(decoded.alpha), orientation),
        sha256=hashlib.sha256(data).hexdigest(),
        exif=exif,
        dpi=dpi,
        notes=tuple(notes),
    )


def read_thumbnail(path: Path, side_px: int) -> ByteImage:
    """Returns the picture as `read_picture` shows it, uint8 (H, W, 3), its longer side at most `side_px`.

    It is made small before anything else, so that little memory is used; transparency lies over mid grey.

    Raises:
        ImageError: as `read_picture`.
    """
    try:
        return thumbnail(_bytes_of(path), side_px)
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error


def stored_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px before the EXIF orientation, from the file's header alone.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        header = read_header(_bytes_of(path))
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error
    return header.width, header.height


def picture_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px after the EXIF orientation, from the file's header.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        header = read_header(_bytes_of(path))
    except BadImage as error:
        raise ImageError(f"{path.name}: {error.detail}") from error
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
        return image.astype(np.float32)
    raise ImageError(f"an array of {image.dtype} is no picture; use uint8 in 0..255 or float in 0..1")


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


def write_png(
    path: Path,
    rgb: ByteImage,
    alpha: ByteImage | None,
    metadata: dict[str, Any],
    *,
    exif: bytes = b"",
    dpi: tuple[float, float] | None = None,
) -> None:
    """Writes an 8-bit PNG with `metadata` as JSON in a text chunk; it appears complete or not at all.

    Args:
        path: its folder is made where it is missing.
        rgb: (H, W, 3).
        alpha: (H, W), None for a picture without.
        metadata: what `read_metadata` gives back.
        exif: for the eXIf chunk, from `Picture.exif`; b"" writes none.
        dpi: resolution for the pHYs chunk; None writes none.

    Raises:
        OSError: the file or its folder cannot be written; no part of it stays.
    """
    image = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(METADATA_KEY, json.dumps(metadata, ensure_ascii=False, sort_keys=True))
    described: dict[str, Any] = {"exif": exif} if exif else {}
    if dpi is not None:
        described["dpi"] = dpi
    # a name of its own length: one made from a long picture's name would be longer than file systems take
    temporary = path.with_name(f".supir-{secrets.token_hex(8)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as stream:
            image.save(stream, format="PNG", pnginfo=chunks, **described)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Returns what `write_png` stored in the file, or None where another program made it."""
    try:
        image, header = open_image(_bytes_of(path))
        with naming_damage(header.format):
            image.load()
            text = getattr(image, "text", {}).get(METADATA_KEY)
            metadata = json.loads(text) if text else None
    except (BadImage, ImageError):
        return None
    return metadata if isinstance(metadata, dict) else None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path.name}: cannot be read: {error.strerror}") from error


def _carried(image: Image.Image, notes: list[str]) -> bytes:
    try:
        return kept_exif(image)
    except ValueError as error:
        notes.append(f"EXIF not carried over: {error}")
        return b""
