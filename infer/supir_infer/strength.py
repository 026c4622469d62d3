"""How much of a restoration is taken: none of it where the picture is clean, so that no harm is done.

Place in the flow: `restore` asks before it computes, and mixes the restored picture into the given one at the end. A
model with a strength map says at the end how much to take where; of another the estimate alone decides.
The law it keeps: what is judged is the picture at the output's size, the one that the result is mixed with; a picture
that is not touched comes back as it was.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
import torch

from supir_infer.images import FloatImage
from supir_model import Supir
from supir_model.estimator import Degradation, DegradationEstimator, normalised
from supir_model.load import embedded_estimator
from supir_model.strength_map import StrengthMap

COMPRESSED_QUALITY = (90.0, 75.0)
"""JPEG quality from which on, and up to which, blur and noise count as alone and as among other faults."""
ALONE_BLUR_PX, ALONE_NOISE = (0.8, 1.7), (1.0, 9.0)
"""Deviations: nothing is taken for the first, everything from the second on. A fifth is best for a picture that was
enlarged twofold, half of faint grain: more of it is further from the photo, in PSNR and LPIPS."""
BLUR_PX, NOISE = (0.9, 1.4), (1.5, 5.0)
"""The same among other faults."""
JPEG_QUALITY, JPEG_STRENGTH = (55.0, 20.0), 0.5
"""The same of blocks, but half of a restoration is the most: nearest to the photo in PSNR and LPIPS at quality 20."""
CROP_PX, MOST_CROPS, SMALLEST_PX = 256, 16, 32


def degradation(supir: Supir, picture: FloatImage) -> Degradation:
    """Returns what was done to a picture: the mean over crops spread over it.

    Args:
        supir: whose estimator is asked, the embedded one where it has none.
        picture: (H, W, 3) in 0..1; where a side is under 32 px its border pixels are repeated.
    """
    estimator = supir.estimator or _embedded()
    crops = np.stack(squares(picture)).transpose(0, 3, 1, 2)
    found = estimator.estimate(torch.from_numpy(crops).to(estimator.device) * 2 - 1)
    columns = zip(*map(astuple, found), strict=True)
    return Degradation(*(sum(column) / len(found) for column in columns))


def squares(picture: FloatImage) -> list[FloatImage]:
    """Returns parts of equal size, at least 32 and at most 256 px a side, spread evenly over the picture.

    Args:
        picture: (H, W, 3); where a side is under 32 px its border pixels are repeated.
    """
    missing = [max(0, SMALLEST_PX - side) for side in picture.shape[:2]]
    if any(missing):
        picture = np.pad(picture, [*((0, number) for number in missing), (0, 0)], mode="edge")
    height, width = (min(CROP_PX, side // 2 * 2) for side in picture.shape[:2])
    rows, columns = (math.ceil(side / CROP_PX) for side in picture.shape[:2])
    while rows * columns > MOST_CROPS:
        rows, columns = max(1, rows - 1) if rows >= columns else rows, max(1, columns - (columns > rows))
    tops = np.linspace(0, picture.shape[0] - height, rows).round().astype(int)
    lefts = np.linspace(0, picture.shape[1] - width, columns).round().astype(int)
    return [picture[top : top + height, left : left + width] for top in tops for left in lefts]


@dataclass(frozen=True, slots=True)
class Taken:
    """How much of a restoration is taken.

    Attributes:
        most: 0 for nothing to 1 for all of it.
        judge: says of each place which share of that; None for all of it everywhere.
        degradation: what was done to the given picture, as it was estimated; None where nothing is left to it.
    """

    most: float
    judge: StrengthMap | None = None
    degradation: Degradation | None = None

    @torch.no_grad()
    def share(self, given: FloatImage, restored: FloatImage) -> FloatImage:
        """Returns the share of each place, (H, W, 1) or (1, 1, 1).

        Args:
            given: (H, W, 3) in 0..1, at the output's size; `restored` likewise.
        """
        if self.judge is None or self.degradation is None:
            return np.full((1, 1, 1), self.most, dtype=np.float32)
        device = self.judge.device
        pictures = (
            torch.from_numpy(array).to(device).permute(2, 0, 1)[None] * 2 - 1 for array in (given, restored)
        )
        share = self.judge(*pictures, normalised([self.degradation]))
        taken: FloatImage = (self.most * share[0, 0, :, :, None]).cpu().numpy()
        return taken


def automatic(supir: Supir, degradation: Degradation) -> Taken:
    """Returns what is best taken of a restoration by this model, of a picture that was degraded so."""
    if supir.strength_map is None:
        return Taken(automatic_strength(degradation), degradation=degradation)
    return Taken(degradation.doubt, supir.strength_map, degradation)


def automatic_strength(degradation: Degradation) -> float:
    """Returns 0 for a picture that is clean by its estimate, up to 1 by the worst of its blur, noise and blocks."""
    compressed = _ramp(degradation.jpeg_quality, *COMPRESSED_QUALITY)

    def share(value: float, alone: tuple[float, float], among_others: tuple[float, float]) -> float:
        return compressed * _ramp(value, *among_others) + (1 - compressed) * _ramp(value, *alone)

    worst = max(
        share(degradation.blur_sigma_px, ALONE_BLUR_PX, BLUR_PX),
        share(degradation.noise_sigma, ALONE_NOISE, NOISE),
        JPEG_STRENGTH * _ramp(degradation.jpeg_quality, *JPEG_QUALITY),
    )
    return min(worst, degradation.doubt)


def _ramp(value: float, none: float, all_: float) -> float:
    """0 at `none`, 1 at `all_`, linear in between."""
    return min(1.0, max(0.0, (value - none) / (all_ - none)))


@cache
def _embedded() -> DegradationEstimator:
    return embedded_estimator()
