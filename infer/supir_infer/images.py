"""Pictures in and out of files: every common kind becomes RGB in 0..1 the right way up, with its alpha.

Place in the flow: `folder` and `web` read and write through here; `restore` and `evaluate` get arrays.
The law it keeps: what a viewer shows is what the network sees: EXIF orientation is applied, an embedded ICC
profile (CMYK included) is converted to sRGB, 16-bit grey keeps its 16 bits. Nothing is repaired silently:
what was done stands in `notes`. An output appears complete under its name or not at all.
Limits: animations give their first frame; Pillow reads 16-bit colour with 8 bits; output is 8-bit PNG in
sRGB.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
METADATA_KEY = "supir"
# What Pillow raises for bytes that are no picture, or not a whole one.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

FloatImage = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]


class ImageError(ValueError):
    """A file is no picture that can be read; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture: `rgb` float32 (H, W, 3) in 0..1 sRGB, `alpha` float32 (H, W) in 0..1 or None."""

    rgb: FloatImage
    alpha: FloatImage | None
    sha256: str
    notes: tuple[str, ...] = ()


def read_picture(path: Path) -> Picture:
    """Returns the picture in the file, the right way up, in sRGB.

    Raises:
        ImageError: the file is no picture, is cut short, too large to decode safely or of an unknown mode.
    """
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _decode(image, hashlib.sha256(data).hexdigest())
    except UNREADABLE as error:
        raise _image_error(path, error) from error


def picture_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px after the EXIF orientation, from the file's header alone.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except UNREADABLE as error:
        raise _image_error(path, error) from error


def to_rgb(image: Image.Image | npt.NDArray[Any]) -> FloatImage:
    """Returns any PIL image or array as float32 (H, W, 3) in 0..1.

    Args:
        image: a PIL image of any mode, or an array (H, W, 3): uint8 0..255 or float 0..1.

    Raises:
        ImageError: the array has another shape or dtype.
    """
    if isinstance(image, Image.Image):
        return _decode(image, "").rgb
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"an array of shape {image.shape} is no RGB picture; (H, W, 3) is needed")
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    raise ImageError(f"an array of {image.dtype} is no picture; use uint8 in 0..255 or float in 0..1")


def to_bytes(rgb: npt.NDArray[np.floating[Any]]) -> ByteImage:
    """Returns the picture rounded to uint8; values outside 0..1 are clipped."""
    return np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


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


def write_png(path: Path, rgb: ByteImage, alpha: ByteImage | None, metadata: dict[str, Any]) -> None:
    """Writes an 8-bit PNG with `metadata` as JSON in a text chunk; it appears complete or not at all."""
    image = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(METADATA_KEY, json.dumps(metadata, ensure_ascii=False, sort_keys=True))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as stream:
            image.save(stream, format="PNG", pnginfo=chunks)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Returns what `write_png` stored in the file, or None where another program made it."""
    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(METADATA_KEY)
        return json.loads(text) if text else None
    except UNREADABLE:
        return None


def _image_error(path: Path, error: Exception) -> ImageError:
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "no picture in a format that Pillow reads" if unknown else " ".join(str(error).split())
    return ImageError(f"{path.name}: {reason}")


def _decode(image: Image.Image, sha256: str) -> Picture:
    notes = ["first frame of an animation"] if getattr(image, "n_frames", 1) > 1 else []
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        grey = np.clip(np.asarray(upright, dtype=np.float32) / 65535, 0, 1)
        return Picture(
            rgb=np.repeat(grey[..., None], 3, axis=2), alpha=None, sha256=sha256, notes=tuple(notes)
        )
    if upright.mode == "F":
        raise ValueError("32-bit float pixels have no agreed range; save the picture with 8 or 16 bits")
    alpha = None
    if upright.has_transparency_data:
        alpha = np.asarray(upright.convert("RGBA").getchannel("A"), dtype=np.float32) / np.float32(255)
    coloured = upright if upright.mode in ("L", "RGB", "CMYK") else upright.convert("RGB")
    rgb = _to_srgb(coloured, upright.info.get("icc_profile"), notes)
    return Picture(rgb=to_rgb(np.asarray(rgb)), alpha=alpha, sha256=sha256, notes=tuple(notes))


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("ICC profile unreadable or for another mode: pixels taken as sRGB")
        return image.convert("RGB")
    assert converted is not None, "profileToProfile returns an image unless inPlace is set"
    return converted
