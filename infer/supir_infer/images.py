"""Pictures in and out of files: every common kind becomes RGB in 0..1 the right way up, with its alpha.

Place in the flow: `folder` and `web` read and write through here; `restore` and `evaluate` get arrays.
The law it keeps: what a viewer shows is what the network sees: EXIF orientation is applied, an embedded ICC
profile (CMYK and grey included) is converted to sRGB, 16-bit grey keeps its 16 bits; pixels without an agreed
range (32-bit integer, float) are refused. Nothing is repaired silently: what was done stands in `notes`. An
output appears complete under its name or not at all.
Limits: animations give their first frame; Pillow reads 16-bit colour with 8 bits; a profile of 16-bit grey is
read at 256 points, linear between; output is 8-bit PNG in sRGB.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from supir_infer.exif import kept_exif, resolution

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
    """A decoded picture: `rgb` float32 (H, W, 3) in 0..1 sRGB, `alpha` float32 (H, W) in 0..1 or None.

    `exif` and `dpi` are what a result carries over, see `exif`.
    """

    rgb: FloatImage
    alpha: FloatImage | None
    sha256: str
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def pictures_below(folder: Path) -> list[Path]:
    """Returns the files below `folder` that are named like pictures, sorted; hidden ones are left out.

    A link that leads nowhere is one of them: it is for the caller to say that it cannot be read.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.name.startswith(".") and _may_be_read(path))


def read_picture(path: Path) -> Picture:
    """Returns the picture in the file, the right way up, in sRGB.

    Raises:
        ImageError: the file cannot be read, is no picture, is cut short, too large to decode safely or of a
            mode without an agreed range.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _decode(image, hashlib.sha256(data).hexdigest())
    except UNREADABLE as error:
        raise _image_error(path, error) from error


def read_thumbnail(path: Path, side_px: int) -> ByteImage:
    """Returns the picture as `read_picture` shows it, uint8 (H, W, 3), its longer side at most `side_px`.

    It is made small before anything else, so that little memory is used.

    Raises:
        ImageError: as `read_picture`.
    """
    try:
        # from a stream: from a path, Pillow 12 maps an uncompressed TIFF that is to be turned with its sides swapped
        with path.open("rb") as stream, Image.open(stream) as image:
            image.draft(None, (side_px, side_px))
            image.load()
            image.thumbnail((side_px, side_px), reducing_gap=None)
            return to_bytes(_decode(image, "").rgb)
    except UNREADABLE as error:
        raise _image_error(path, error) from error


def stored_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px before the EXIF orientation, from the file's header alone.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except UNREADABLE as error:
        raise _image_error(path, error) from error


def picture_size(path: Path) -> tuple[int, int]:
    """Returns width and height in px after the EXIF orientation.

    From the header, but for a PNG without EXIF there: it may follow the pixels, and Pillow decodes them on the way.

    Raises:
        ImageError: the header is not one of a picture.
    """
    try:
        with Image.open(path) as image:
            # Pillow gives a TIFF's size as it will be turned while its pixels are read, other kinds' as stored
            turned = image.format != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
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
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(METADATA_KEY)
        metadata = json.loads(text) if text else None
    except UNREADABLE:
        return None
    return metadata if isinstance(metadata, dict) else None


def _may_be_read(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:
        return True  # reading it will say why it cannot be


def _image_error(path: Path, error: Exception) -> ImageError:
    reason = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError):
        reason = "no picture in a format that Pillow reads"
    elif isinstance(error, OSError) and error.strerror:
        reason = f"cannot be read: {error.strerror}"
    return ImageError(f"{path.name}: {reason}")


def _decode(image: Image.Image, sha256: str) -> Picture:
    notes = ["first frame of an animation"] if getattr(image, "n_frames", 1) > 1 else []
    try:
        exif = kept_exif(image)
    except ValueError as error:
        exif = b""
        notes.append(f"EXIF not carried over: {error}")
    dpi, upright = resolution(image), ImageOps.exif_transpose(image)
    rgb, alpha = _grey_16(upright, notes) if upright.mode.startswith("I;16") else _colours(upright, notes)
    return Picture(rgb=rgb, alpha=alpha, sha256=sha256, exif=exif, dpi=dpi, notes=tuple(notes))


def _colours(image: Image.Image, notes: list[str]) -> tuple[FloatImage, FloatImage | None]:
    if image.mode in ("I", "F"):
        kind = "integer" if image.mode == "I" else "float"
        raise ValueError(f"32-bit {kind} pixels have no agreed range; save the picture with 8 or 16 bits")
    alpha = None
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"), dtype=np.float32) / np.float32(255)
    coloured = image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")
    return to_rgb(np.asarray(_to_srgb(coloured, image.info.get("icc_profile"), notes))), alpha


def _grey_16(image: Image.Image, notes: list[str]) -> tuple[FloatImage, FloatImage | None]:
    """16-bit grey, with its transparent value (a PNG's tRNS) and its profile, which Pillow knows for 8 bits."""
    values = np.asarray(image).astype(np.float32)
    clear = image.info.get("transparency")
    alpha = None if clear is None else (values != clear).astype(np.float32)
    grey = values / 65535
    profile = image.info.get("icc_profile")
    if not profile:
        return np.repeat(grey[..., None], 3, axis=2), alpha
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    table = np.asarray(_to_srgb(ramp, profile, notes), dtype=np.float32)[0] / 255
    at = np.linspace(0, 1, 256)
    channels = [np.interp(grey, at, table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32), alpha


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
