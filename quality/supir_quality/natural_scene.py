"""Statistics of natural scenes that NIQE and BRISQUE share: normalised luminance and the shape of its distribution.

Place in the flow: `niqe` and `brisque` build their features from these. The law: definitions are the papers', since
the published parameters were fitted to them.

Sources: A. Mittal et al., "No-Reference Image Quality Assessment in the Spatial Domain", TIP 2012, eqs. 1 to 4 and 7;
N. Lasmar et al., "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009 (the fit).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WINDOW_PX = 7
SIGMA_PX = 7 / 6
ROUNDING = 1e-9  # of a flat area's MSCN, which is zero but for the order of a sum; its sign must not count
SHAPES = np.arange(
    0.2, 10.001, 0.001
)  # of the generalised Gaussian, as the published parameters were fitted with


def normalised(luma: Array, border: int) -> Array:
    """Returns the luminance less its local mean, over its local deviation + 1 (MSCN).

    Args:
        luma: (H, W) float64, grey levels 0 to 255.
        border: OpenCV's name of what lies outside, e.g. `cv2.BORDER_REPLICATE`.
    """
    import cv2

    window = cv2.getGaussianKernel(WINDOW_PX, SIGMA_PX, cv2.CV_64F)
    mean = cv2.sepFilter2D(luma, cv2.CV_64F, window, window, borderType=border)
    square = cv2.sepFilter2D(luma * luma, cv2.CV_64F, window, window, borderType=border)
    mscn = (luma - mean) / (np.sqrt(np.abs(square - mean * mean)) + 1)
    return np.where(np.abs(mscn) < ROUNDING, 0.0, mscn)


def fitted(samples: Array) -> tuple[Array, Array, Array]:
    """Returns shape, left and right deviation of the asymmetric generalised Gaussian of each row.

    NaN where a row has no value on one side of zero, as in a flat area.

    Args:
        samples: (N, M) float64.
    """
    square = samples * samples
    sides = []
    for side in (samples < 0, samples > 0):
        with np.errstate(invalid="ignore"):
            sides.append(np.sqrt((square * side).sum(axis=1) / side.sum(axis=1)))
    left, right = sides
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = left / right
        moments = np.abs(samples).mean(axis=1) ** 2 / square.mean(axis=1)
        wanted = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return np.where(np.isfinite(wanted), _shape(wanted), np.nan), left, right


def _shape(wanted: Array) -> Array:
    """Returns for each moment ratio the nearest entry of SHAPES."""
    ratios = _moment_ratios()  # grows with the shape
    above = np.clip(np.searchsorted(ratios, wanted), 1, len(ratios) - 1)
    is_lower_nearer = wanted - ratios[above - 1] <= ratios[above] - wanted
    return np.asarray(SHAPES[above - is_lower_nearer])


@cache
def _moment_ratios() -> Array:
    from scipy.special import gammaln

    return np.asarray(np.exp(2 * gammaln(2 / SHAPES) - gammaln(1 / SHAPES) - gammaln(3 / SHAPES)))
