"""How good a picture looks without a reference: tells a negative that came out clean from one that did not.

Place in the flow: `negatives` scores each redrawn picture and the photo it came from. The law it keeps: two
pictures are only compared at one size and by one score; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_quality.niqe import NiqeParameters, luma, niqe
from supir_quality.pyiqa_package import import_pyiqa

SHARPNESS = "sharpness"
NIQE = "niqe"
BLOCK_PX = 8
BLOCKINESS_WEIGHT = 4.0
# Variance that rounding to 8 bits alone gives: 1/12 a pixel, times the mask's sum of squares (20).
ROUNDING_VARIANCE = 20 / 12
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Score = Callable[[NDArray[np.uint8]], float]


def load_score(name: str) -> Score:
    """Returns the function picture → score, higher better.

    Args:
        name: "sharpness", "niqe", or the name of a no-reference metric of pyiqa, where that is installed; those that
            are better when lower change their sign.

    Raises:
        UserError: no such metric, or it cannot be loaded.
        MeasureMissing: its package or its parameters are not installed.
    """
    if name == SHARPNESS:
        return sharpness
    return _niqe_score() if name == NIQE else _pyiqa_score(name)


def sharpness(image: NDArray[np.uint8]) -> float:
    """Returns ln(variance of the Laplacian + 5/3) - 4 · blockiness of the luma; 0.5 for a flat picture.

    Args:
        image: uint8 (H, W, 3) RGB, no side below 16 px.

    Source: variance of the Laplacian after Pech-Pacheco et al. 2000. Limits: noise and ringing raise it, so a
    negative that is grainy instead of smooth is taken for clean; a pyiqa metric is the finer choice.
    """
    luma = image.astype(np.float32) @ LUMA
    variance = float(cv2.Laplacian(luma, cv2.CV_32F).var())
    return float(np.log(variance + ROUNDING_VARIANCE)) - BLOCKINESS_WEIGHT * blockiness(luma)


def blockiness(luma: NDArray[np.float32]) -> float:
    """Returns how much larger steps are across the 8 px grid than between, as the log of their ratio; at least 0.

    Args:
        luma: float32 (H, W), 0 to 255, no side below 16 px; the grid starts at the corner.

    Source: the boundary ratio of Wang, Bovik, Evans 2000, here over means of absolute differences plus 1.
    """
    ratios = []
    for plane in (luma, luma.T):
        steps = np.abs(np.diff(plane, axis=1)).mean(axis=0)
        on_grid = np.arange(1, steps.size + 1) % BLOCK_PX == 0
        ratios.append(np.log((steps[on_grid].mean() + 1) / (steps[~on_grid].mean() + 1)))
    return max(0.0, float(np.mean(ratios)))


def _niqe_score() -> Score:
    parameters = NiqeParameters.load()
    return lambda image: -niqe(luma(image), parameters)


def _pyiqa_score(name: str) -> Score:
    import torch

    pyiqa = import_pyiqa(f"score {name!r}, other than {SHARPNESS} and {NIQE},")
    try:
        metric = pyiqa.create_metric(name, device="cpu")
    except Exception as error:  # a download, a weight file or a name: pyiqa raises what it meets
        raise UserError(
            f"score {name!r} cannot be loaded: {type(error).__name__}: {error}; use a metric that "
            f"pyiqa.list_models(metric_mode='NR') names, or score={SHARPNESS}"
        ) from error
    if metric.metric_mode != "NR":
        raise UserError(f"score {name!r} needs a reference; use a no-reference metric or score={SHARPNESS}")
    sign = -1.0 if metric.lower_better else 1.0

    def score(image: NDArray[np.uint8]) -> float:
        pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)[None]
        with torch.no_grad():
            return sign * float(metric(pixels))

    return score
