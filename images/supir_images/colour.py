"""Pixels brought to sRGB by an ICC profile: by one engine with one intent, for every stage.

Place in the flow: `decode` calls it with the profile that `colour_source` found. The law: relative colorimetric with
black point compensation, which keeps what sRGB has and the shadows apart; a profile that cannot be used changes
nothing, and the answer says so; one that changes no colour by more than a level is sRGB and is not paid for.
Source: LittleCMS through Pillow's ImageCms. More than 8 bits go by the profile's own matrix and curves, see `deep`.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

MODES = ("L", "RGB", "CMYK", "LAB")  # of the pixels that profiles are applied to
SAME_LEVELS = 1
_GRID = 9
LAB = b"LAB"
"""Stands for the profile of CIE Lab pixels, which carry none."""


def profile_name(profile: bytes) -> str:
    """Returns the description of a profile, "unreadable" if it is damaged."""
    from PIL import ImageCms

    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ValueError, ImageCms.PyCMSError):
        return "unreadable"


def is_usable(profile: bytes, mode: str) -> bool:
    """Returns whether a profile can be applied to pixels of that mode."""
    return _transform(profile, mode) is not None


@lru_cache(maxsize=64)
def is_srgb(profile: bytes, mode: str) -> bool:
    """Returns whether a usable profile changes none of 729 colours, or 256 greys, by more than a level.

    Args:
        profile: an ICC profile that `is_usable`.
        mode: one of `MODES`.
    """
    from PIL import Image

    if mode not in ("L", "RGB"):
        return False
    if mode == "L":
        colours = np.arange(256, dtype=np.uint8)[None]
    else:
        levels = np.linspace(0, 255, _GRID).astype(np.uint8)
        colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    converted = to_srgb(Image.fromarray(colours), profile).astype(np.int16)
    same = colours[..., None] if mode == "L" else colours
    return int(np.abs(converted - same).max()) <= SAME_LEVELS


def to_srgb(image: Image.Image, profile: bytes) -> NDArray[np.uint8]:
    """Returns the picture in sRGB, uint8 (H, W, 3).

    Args:
        image: of one of `MODES`.
        profile: an ICC profile that `is_usable` for that mode.
    """
    if image.mode == "L":
        return np.asarray(_grey_table(profile)[np.asarray(image)])
    return _applied(image, profile)


def _applied(image: Image.Image, profile: bytes) -> NDArray[np.uint8]:
    from PIL import ImageCms

    transform = _transform(profile, image.mode)
    assert transform is not None, "asked for without is_usable"
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "applyTransform returns an image unless inPlace is set"
    return np.asarray(converted)


@lru_cache(maxsize=64)
def _grey_table(profile: bytes) -> NDArray[np.uint8]:
    """Returns (256, 3): what each grey becomes. There are few enough to do each one exactly."""
    from PIL import Image

    return _applied(Image.fromarray(np.arange(256, dtype=np.uint8)[None]), profile)[0]


# A CMYK profile has megabytes and takes a tenth of a second to set up; photos of one source share theirs.
@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    from PIL import ImageCms

    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":  # its shortcut for grey is ten levels off in the shadows
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        source: Any = (
            ImageCms.createProfile("LAB") if profile == LAB else ImageCms.ImageCmsProfile(io.BytesIO(profile))
        )
        return ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=flags,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def linear_to_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the sRGB signal of light, both 0 to 1 (IEC 61966-2-1); outside it is cut off."""
    light = np.clip(light, 0, 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    return signal.astype(np.float32)
