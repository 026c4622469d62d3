"""The pixels of a JPEG, and how much of them the decoder had to guess.

Place in the flow: `decode`. The law: libjpeg-turbo decodes once, and says whether it had to guess anything; only then
is the file looked at again. Pixels are the same bit for bit whichever library asked it.
Source: simplejpeg, whose strict mode raises on libjpeg's warnings; Pillow and OpenCV keep them to themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supir_images.jpeg_damage import EOI, guessed_share

if TYPE_CHECKING:
    from PIL import Image


def guessed_share_of_ink(data: bytes) -> float:
    """Returns the share of a CMYK JPEG that the decoder had to guess, 0 to 1; its pixels are read by Pillow."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(data, "CMYK")
    except ValueError as error:
        return guessed_share(data, str(error))
    return 0.0


class JpegPixels(NamedTuple):
    """uint8 (H, W, 3) RGB or (H, W) grey as stored, and the share of it that was guessed, 0 to 1."""

    values: NDArray[np.uint8]
    guessed_share: float


def read_jpeg(data: bytes, image: Image.Image) -> JpegPixels:
    """Returns the pixels of a JPEG.

    Args:
        data: the file.
        image: the same as Pillow opened it, of mode "RGB" or "L".

    Raises:
        OSError: the data end early and the file does not say that they end; anything else that Pillow raises.
    """
    import simplejpeg

    colours = "RGB" if image.mode == "RGB" else "GRAY"
    try:
        values = simplejpeg.decode_jpeg(data, colours)
        return JpegPixels(values if colours == "RGB" else values[..., 0], 0.0)
    except ValueError as error:
        complaint = str(error)
    try:
        image.load()
    except OSError:
        # What lacks nothing but its end mark is whole.
        if EOI in data[-2:] or guessed_share(data, complaint) > 0:
            raise
        values = simplejpeg.decode_jpeg(data + EOI, colours)
        return JpegPixels(values if colours == "RGB" else values[..., 0], 0.0)
    return JpegPixels(np.asarray(image), guessed_share(data, complaint))
