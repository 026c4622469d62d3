"""A decoded picture in every view that a probe needs, decoded once.

Place in the flow: `score` reads each candidate here, `measure` looks at it. The law: what is decided on is what is
delivered: every view stands upright and is sRGB, as `supir_images` gives it to every stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supir_images import BadImage, Fault, Header, opaque
from supir_images import decode as decode_image
from supir_images.decoding import Levels, to_unit
from supir_images.orientation import grid_phase, turned, upright

MAX_COLOURS = 250_000  # pixels whose colour is kept
BLOCK_PX = 8
NEARLY_TWICE = 1.7  # as large as wanted: from here on `reduced` averages by 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture, upright.

    Args:
        header: what the file says about it; its sizes are as stored.
        colours: (h, w, 3) uint8 sRGB, single pixels of it evenly spread, about a quarter of a million at most.
        gray: (H, W) uint8 luma at native scale (ITU-R BT.601); transparent pixels over mid grey.
        working_gray: the luma reduced so that the short side is the working side; never enlarged.
        block_phase: row and column of `gray`, each below 8, where the stored picture's grid of 8 px begins.
        alpha_share: share of pixels that are not opaque, 0 to 1.
        guessed_share: share of a JPEG that its decoder had to guess, 0 to 1; NaN for other formats.
        num_bytes: size of the file.
    """

    header: Header
    colours: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    working_gray: NDArray[np.uint8]
    block_phase: tuple[int, int]
    alpha_share: float
    guessed_share: float
    num_bytes: int


def decode(data: bytes, max_pixels: int, working_side_px: int) -> Picture:
    """Returns the decoded picture.

    Args:
        data: the file.
        max_pixels: largest width times height that is decoded.
        working_side_px: short side of the working views.

    Raises:
        BadImage: as `supir_images.decode`, and an animation.
    """
    import cv2

    decoded = decode_image(data, max_pixels)
    header = decoded.header
    if header.frames > 1:
        raise BadImage(Fault.ANIMATED, f"{header.frames} pictures in one file")
    rgb = opaque(decoded)
    # What is kept of it is turned, which is less than all of it.
    gray = upright(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8), header.orientation)
    return Picture(
        header=header,
        colours=_sampled(turned(rgb, header.orientation)),
        gray=gray,
        working_gray=reduced(gray, working_side_px),
        block_phase=grid_phase(header.width, header.height, header.orientation, BLOCK_PX),
        alpha_share=_alpha_share(decoded.alpha),
        guessed_share=decoded.guessed_share,
        num_bytes=len(data),
    )


def _alpha_share(alpha: Levels | None) -> float:
    return 0.0 if alpha is None else float((to_unit(alpha) < 1).mean())


def _sampled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns single pixels evenly spread, as interpolation would mix colours."""
    height, width = pixels.shape[:2]
    scale = min(1.0, (MAX_COLOURS / (height * width)) ** 0.5)
    rows, columns = (
        np.arange(kept) * length // kept
        for length in (height, width)
        for kept in (max(1, round(length * scale)),)
    )
    return np.ascontiguousarray(pixels[rows[:, None], columns])


def reduced(pixels: NDArray[np.uint8], short_side_px: int) -> NDArray[np.uint8]:
    """Returns the picture with its short side at most that long, by area averaging; never enlarged.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        short_side_px: in px.

    OpenCV averages by exactly 2 twenty times as fast as by a factor that leaves a rest. A factor between 1.7 and 2 is
    therefore done as 2, on the picture brought to twice the wanted size by linear interpolation: a kernel as wide, with
    softer flanks, that leaves 0.9 to 1 of the variance of a photo's Laplacian (0.99 from 1.9 on).
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # First by a whole factor, which is several times faster; up to that many px less one are cut at two sides.
    factor = int(1 / scale)
    coarse = _averaged(pixels, factor)
    if 1 / scale >= NEARLY_TWICE * factor:
        doubled = cv2.resize(coarse, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
        return _averaged(np.asarray(doubled, dtype=np.uint8), 2)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _averaged(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Returns the means of squares of so many pixels a side."""
    import cv2

    if factor == 1:
        return pixels
    if factor > 2 and factor % 2 == 0:  # halving twice is three times as fast as averaging by 4
        return _averaged(_averaged(pixels, 2), factor // 2)
    height, width = (length // factor for length in pixels.shape[:2])
    whole = pixels[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
