"""From what the network made to the result: at the output's size, mixed with the given picture, and checked.

Place in the flow: last step of `restore`, on arrays (H, W, 3) of one picture. The law it keeps: what no one could want
(numbers that are none, another picture than the one that was given) is a failure with its reason and never a result.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from supir_console import UserError
from supir_infer.images import ByteImage, FloatImage, resize, to_bytes

FARTHEST_RMS = 0.5
"""Largest deviation of a result's coarse colours from the picture's, of the range 0..1."""
COARSE_SIDE_PX = 16
GREY_TOLERANCE = 0.5 / 255


def finished(restored: FloatImage, picture: FloatImage, size: tuple[int, int], strength: float) -> ByteImage:
    """Returns the result, uint8 (height, width, 3): `strength` of the restored picture, the rest of the given one.

    A grey picture stays grey: its three channels are one.

    Args:
        restored: at the working size, in about 0..1; not looked at where `strength` is 0.
        picture: the given one at its own size, in 0..1.
        size: (width, height) of the result, px.
        strength: 0 to 1.

    Raises:
        UserError: the restored picture has numbers that are none, or shows something else than the given one.
    """
    given = resize(picture, size)
    if strength == 0:
        return to_bytes(given)
    if not np.isfinite(restored).all():
        raise UserError(
            "the network gave numbers that are none (NaN or infinite): its weights are damaged, or its precision is "
            "too low; try --dtype float32"
        )
    made = np.clip(restored, 0, 1).astype(np.float32)
    distance = float(np.sqrt(np.mean((_coarse(made) - _coarse(picture)) ** 2)))
    if distance > FARTHEST_RMS:
        raise UserError(
            f"the result's coarse colours are {distance:.2f} (RMS of 0..1) from the picture's, more than "
            f"{FARTHEST_RMS}: it shows something else; use more control (--control-scale 1) or less guidance"
        )
    if np.ptp(picture, axis=2).max() <= GREY_TOLERANCE:
        made = np.repeat(made.mean(axis=2, keepdims=True), 3, axis=2)
    return to_bytes(given + np.float32(strength) * (resize(made, size) - given))


def _coarse(picture: FloatImage) -> FloatImage:
    """The means of 16 × 16 equal parts of the picture, (16, 16, 3)."""
    size = (COARSE_SIDE_PX, COARSE_SIDE_PX)
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, Image.Resampling.BOX))
        for channel in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(channels, axis=-1)
