"""From what the network made to the result: checked, at the output's size, and mixed with the given picture.

Place in the flow: last step of `restore`, on arrays (H, W, 3) of one picture. The law it keeps: what no one could want
(numbers that are none, another picture than the one that was given) is a failure with its reason and never a result.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from supir_console import UserError
from supir_infer.images import FloatImage, resize, to_bytes, to_deep
from supir_infer.interrupt import stop_here
from supir_infer.saving import Levels
from supir_infer.settings import RestoreSettings
from supir_infer.strength import Taken

FARTHEST_RMS = 0.5
"""Largest deviation of a result's coarse colours from the picture's, of the range 0..1."""
COARSE_SIDE_PX = 16
GREY_TOLERANCE = 0.5 / 255
MEAN_ROUNDS, MEAN_TOLERANCE = 8, 0.1 / 255


def finished(
    restored: FloatImage,
    picture: FloatImage,
    size: tuple[int, int],
    taken: Taken,
    settings: RestoreSettings,
    precision: str = "float32",
) -> tuple[Levels, float]:
    """Returns the result (height, width, 3), and the share of the restored picture in it; the rest is the given one.

    It is uint8, or uint16 where `output_bits` is 16. A grey picture stays grey: its three channels are one.

    Args:
        restored: at the working size, in about 0..1; not looked at where `taken.most` is 0.
        picture: the given one at its own size, in 0..1.
        size: (width, height) of the result, px.
        taken: how much of the restored picture.
        settings: `output_bits`; and what to change where the result is none.
        precision: of the network, such as "bfloat16".

    Raises:
        UserError: the restored picture has numbers that are none, or shows something else than the given one.
    """
    stop_here()
    to_levels = to_deep if settings.output_bits == 16 else to_bytes
    given = resize(picture, size)
    if taken.most == 0:
        return to_levels(given), 0.0
    if not np.isfinite(restored).all():
        cause = "its weights are damaged"
        if precision != "float32":
            cause += f", or its precision ({precision}) is too low: try --dtype float32"
        raise UserError(f"the network gave numbers that are none (NaN or infinite): {cause}")
    made = np.clip(restored, 0, 1).astype(np.float32)
    distance = float(np.sqrt(np.mean((_coarse(made) - _coarse(picture)) ** 2)))
    if distance > FARTHEST_RMS:
        raise UserError(
            f"the result's coarse colours are {distance:.2f} (RMS of 0..1) from the picture's, more than "
            f"{FARTHEST_RMS}: it shows something else; {_nearer(settings)}"
        )
    if np.ptp(picture, axis=2).max() <= GREY_TOLERANCE:
        made = np.repeat(made.mean(axis=2, keepdims=True), 3, axis=2)
    made = resize(made, size)
    share = taken.share(given, made)
    mixed = given + share * (made - given)
    if settings.colour_fix == "mean" and settings.colour_reference == "lq":
        mixed = _with_mean(mixed, given, share)
    return to_levels(mixed), float(np.mean(share))


def _with_mean(mixed: FloatImage, given: FloatImage, share: FloatImage) -> FloatImage:
    """The mixture, changed in place, with the mean colour of the given picture.

    The restored picture had it before its brightest and darkest were cut off and only a share of it was taken. What is
    missing is added where the restoration is; a part of that is cut off again, so it takes a few rounds.
    """
    for _ in range(MEAN_ROUNDS):
        np.clip(mixed, 0, 1, out=mixed)
        missing = (given - mixed).mean(axis=(0, 1), dtype=np.float64)
        if np.abs(missing).max() < MEAN_TOLERANCE:
            break
        mixed += (share * (missing / np.mean(share))).astype(np.float32)
    return mixed


def _nearer(settings: RestoreSettings) -> str:
    """What of the settings keeps a result nearer to the picture."""
    if settings.control_scale < 1:
        return f"use more control (--control-scale 1, now {settings.control_scale:g})"
    if settings.guidance_scale > 1:
        return f"use less guidance (--guidance-scale 1, now {settings.guidance_scale:g})"
    return "the model's weights are damaged or not trained: use another --model"


def _coarse(picture: FloatImage) -> FloatImage:
    """The means of 16 × 16 equal parts of the picture, (16, 16, 3)."""
    size = (COARSE_SIDE_PX, COARSE_SIDE_PX)
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, Image.Resampling.BOX))
        for channel in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(channels, axis=-1)
