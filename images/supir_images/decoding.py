"""Any picture file to its pixels: sRGB, with its alpha, as stored or upright, 8 bits or as many as it has.

Place in the flow: every stage that looks at a picture. The law: the same bytes give the same picture in every stage:

- profile, code points or gamma → sRGB by one engine and one intent (`colour`, `colour_source`); what cannot be used
  changes nothing and is noted; CMYK without a profile is light = (1 - ink)(1 - black) for each channel;
- EXIF orientation is applied;
- 16-bit grey and colour keep their 16 bits until a stage wants 8; then v becomes v / 257, rounded;
- transparency is kept apart; who wants none gets it laid over mid grey;
- of an animation, or of pages, the first picture counts, with a note; pixels without an agreed range are refused.

Limits: more than 8 bits of AVIF, JPEG XL and JPEG 2000 colour are lost (their readers give 8); with more than 8 bits
a profile of tables is applied to 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_images.colour import LAB, MODES, is_srgb, is_usable, to_srgb
from supir_images.colour_source import colour_source
from supir_images.deep import deep_to_srgb
from supir_images.deep_pixels import GREY_16, grey_16, read_deep
from supir_images.errors import BadImage, Fault
from supir_images.header import MAX_PIXELS
from supir_images.jpeg import guessed_share_of_ink, read_jpeg
from supir_images.opening import Header, header_of, naming_damage, open_image
from supir_images.orientation import upright

if TYPE_CHECKING:
    from PIL import Image

Rgb = NDArray[np.uint8]
Levels = NDArray[np.uint8] | NDArray[np.float32]

BACKDROP = 128
"""The level of the mid grey under transparent pixels: neither edge nor clipping."""

UNUSABLE_PROFILE = "ICC profile unreadable or for another mode: pixels taken as sRGB"
_STRIP_ROWS = 64
_STRIPPED = {
    "1": "L",
    "LA": "L",
    "La": "L",
    "P": "RGB",
    "PA": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "RGBX": "RGB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A picture as it is stored, before its orientation, in sRGB.

    Args:
        header: what the file says about it.
        rgb: (H, W, 3), uint8 0 to 255, or float32 0 to 1 where the file has more than 8 bits.
        alpha: (H, W) likewise, None for a picture without.
        is_converted: whether its colours were another space's and were changed.
        guessed_share: of a JPEG the share that the decoder had to guess, 0 to 1; NaN for other kinds.
        notes: what was done that a user should know.
        image: as Pillow opened it, for what it says about itself.
    """

    header: Header
    rgb: Levels
    alpha: Levels | None
    is_converted: bool
    guessed_share: float
    notes: tuple[str, ...]
    image: Image.Image


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Returns the picture in a file, as it is stored.

    Args:
        data: the whole file.
        max_pixels: largest width times height that is decoded.

    Raises:
        BadImage: not an image, too large, of a kind that nothing installed reads, not decodable to its end, or of
            pixels without an agreed range. Its `reason` says which.

    Limits: memory is at most about 20 bytes a pixel.
    """
    image, header = open_image(data, max_pixels)
    notes = [f"first of {header.frames} pictures in the file"] if header.frames > 1 else []
    with naming_damage(header.format):
        guessed = float("nan")
        found: tuple[Image.Image | NDArray[Any], Levels | None]
        if header.format == "jpg" and header.mode in ("RGB", "L"):
            stored, guessed = read_jpeg(data, image)
            found = stored, None
        else:
            deep = read_deep(data, image, header, notes) if header.bit_depth > 8 else None
            found = deep or _eight_bits(image, header)
            if header.format == "jpg" and header.mode == "CMYK":
                guessed = guessed_share_of_ink(data)
        icc = image.info.get("icc_profile")
        rgb, is_converted = _in_srgb(found[0], header.format, data, icc, notes)
    if rgb.shape[:2] != (header.height, header.width):
        detail = (
            f"decodes to {rgb.shape[1]}x{rgb.shape[0]} px, its header declares {header.width}x{header.height}"
        )
        raise BadImage(Fault.UNDECODABLE, detail)
    return Decoded(
        header=header,
        rgb=rgb,
        alpha=found[1],
        is_converted=is_converted,
        guessed_share=guessed,
        notes=tuple(notes),
        image=image,
    )


def decode_rgb(data: bytes, max_pixels: int = MAX_PIXELS) -> Rgb:
    """Returns the picture in a file upright, uint8 (H, W, 3) sRGB, transparent pixels over mid grey.

    Args:
        data: the whole file; of several pictures the first one counts.
        max_pixels: largest width times height that is decoded.

    Raises:
        BadImage: as `decode`.
    """
    decoded = decode(data, max_pixels)
    return upright(opaque(decoded), decoded.header.orientation)


def opaque(decoded: Decoded) -> Rgb:
    """Returns a picture as stored, uint8 (H, W, 3), transparent pixels over mid grey."""
    if decoded.alpha is None and decoded.rgb.dtype == np.uint8:
        return to_bytes(decoded.rgb)
    result = np.empty(decoded.rgb.shape, np.uint8)
    for top in range(0, len(result), _STRIP_ROWS):  # what is computed in floats is never the whole picture
        rows = slice(top, top + _STRIP_ROWS)
        rgb = to_unit(decoded.rgb[rows])
        if decoded.alpha is not None:
            alpha = to_unit(decoded.alpha[rows])[..., None]
            rgb = rgb * alpha + np.float32(BACKDROP / 255) * (1 - alpha)
        result[rows] = to_bytes(rgb)
    return result


def to_unit(levels: Levels) -> NDArray[np.float32]:
    """Returns uint8 0 to 255 or float32 0 to 1 as float32 0 to 1."""
    if levels.dtype == np.uint8:
        return levels.astype(np.float32) / np.float32(255)
    return np.asarray(levels, np.float32)


def to_bytes(levels: NDArray[Any]) -> Rgb:
    """Returns uint8 as it is, floats 0 to 1 rounded to 0 to 255; outside they are cut off."""
    if levels.dtype == np.uint8:
        return np.asarray(levels, np.uint8)
    return np.round(np.clip(levels, 0, 1) * 255).astype(np.uint8)


def thumbnail(data: bytes, side_px: int, max_pixels: int = MAX_PIXELS) -> Rgb:
    """Returns the picture upright, uint8 (H, W, 3), its longer side at most `side_px`, transparency over mid grey.

    It is made small before anything else, so that little memory is used.

    Raises:
        BadImage: as `decode`.
    """
    image, header = open_image(data, max_pixels)
    with naming_damage(header.format):
        image.draft(None, (side_px, side_px))
        image.load()
        image.thumbnail((side_px, side_px), reducing_gap=None)
        small = _of_loaded(image, header, data)
    return upright(opaque(small), header.orientation)


def from_pillow(image: Image.Image) -> Decoded:
    """Returns the picture that somebody else has opened, by the same laws; its file's own colour chunks are not known.

    Raises:
        BadImage: it cannot be decoded, or has pixels without an agreed range.
    """
    with naming_damage(image.format or "picture"):
        image.load()
        return _of_loaded(image, header_of(image, image.format or "", b""), b"")


def _of_loaded(image: Image.Image, header: Header, data: bytes) -> Decoded:
    notes: list[str] = []
    found: tuple[Image.Image | NDArray[Any], Levels | None]
    found = grey_16(image) if image.mode in GREY_16 else _eight_bits(image, header)
    rgb, is_converted = _in_srgb(found[0], header.format, data, image.info.get("icc_profile"), notes)
    return Decoded(
        header=header,
        rgb=rgb,
        alpha=found[1],
        is_converted=is_converted,
        guessed_share=float("nan"),
        notes=tuple(notes),
        image=image,
    )


def _eight_bits(image: Image.Image, header: Header) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Returns the colours, of one of `MODES`, and the alpha; whatever mode Pillow has."""
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        kind = "32-bit float" if image.mode == "F" else "32-bit integer"
        detail = f"{kind} pixels have no agreed range; save the picture with 8 or 16 bits"
        raise BadImage(Fault.UNDECODABLE, detail)
    clear = image.info.get("transparency")
    if header.format == "png" and image.mode == "L" and header.bit_depth < 8 and isinstance(clear, int):
        # Pillow stretches the levels to 8 bits and leaves the transparent one.
        image.info["transparency"] = clear * 255 // (2**header.bit_depth - 1)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA") if image.mode not in ("LA", "La") else image.convert("LA")
        alpha = np.asarray(image.getchannel("A"))
    if image.mode == "RGBA" and header.mode in ("L", "1"):
        return image.getchannel("R"), alpha
    if image.mode in MODES:
        return image, alpha
    if image.mode == "LA":
        return image.getchannel("L"), alpha
    return image.convert(_STRIPPED.get(image.mode, "RGB")), alpha


def _in_srgb(
    stored: Image.Image | NDArray[Any], kind: str, data: bytes, icc: bytes | None, notes: list[str]
) -> tuple[Levels, bool]:
    """Returns the pixels as (H, W, 3) sRGB, and whether a profile changed them.

    Args:
        stored: a Pillow image of one of `MODES`; uint8 pixels; or float32 ones of more than 8 bits.
        kind: of the file.
        data: the file.
        icc: its ICC profile.
        notes: gets what a user should know.
    """
    from PIL import Image

    if isinstance(stored, Image.Image):
        profile = _profile(stored.mode, kind, data, icc, notes)
        return to_srgb(stored, profile) if profile else np.asarray(stored.convert("RGB")), profile is not None
    is_grey = stored.ndim == 2
    profile = _profile("L" if is_grey else "RGB", kind, data, icc, notes)
    if stored.dtype == np.float32:
        return _deep_in_srgb(stored, profile, notes), profile is not None
    if profile:
        return to_srgb(Image.fromarray(stored), profile), True
    return (np.repeat(stored[..., None], 3, axis=2) if is_grey else stored), False


def _profile(mode: str, kind: str, data: bytes, icc: bytes | None, notes: list[str]) -> bytes | None:
    """Returns the profile by which pixels of a mode become sRGB; None if they are that, or are taken for it."""
    source = colour_source(kind, data, icc, is_grey=mode == "L")
    notes += source.notes
    profile = LAB if mode == "LAB" else source.profile
    if profile and not is_usable(profile, mode):
        notes.append(UNUSABLE_PROFILE)
        return None
    return None if not profile or is_srgb(profile, mode) else profile


def _deep_in_srgb(values: NDArray[np.float32], profile: bytes | None, notes: list[str]) -> Levels:
    from PIL import Image

    if profile is None:
        return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
    converted = deep_to_srgb(values, profile)
    if converted is not None:
        return converted
    notes.append("its profile has tables: applied to 8 bits a channel")
    return to_srgb(Image.fromarray(to_bytes(values)), profile)
