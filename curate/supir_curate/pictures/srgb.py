"""A picture's colours brought to sRGB, as its embedded ICC profile says.

Place in the flow: `pack`, before a picture is encoded again: what is written has no profile, which every reader takes
for sRGB. The law: a profile that cannot be used changes nothing, and the caller learns that it did not.

Source: LittleCMS through Pillow's ImageCms, relative colorimetric: colours that sRGB has stay what they were.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

OUTPUT_MODES = {"RGB": "RGB", "RGBA": "RGBA", "L": "RGB", "CMYK": "RGB"}


def profile_name(image: Image.Image) -> str | None:
    """Returns the description of the embedded profile, None without one, "unreadable" if it is damaged."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return "unreadable"


def to_srgb(image: Image.Image) -> Image.Image | None:
    """Returns the picture in sRGB by its profile; None if it has no profile, or one that does not fit its pixels."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile:
        return None
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode not in OUTPUT_MODES:
        return None
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode=OUTPUT_MODES[image.mode],
        )
    except (OSError, ImageCms.PyCMSError):
        return None
