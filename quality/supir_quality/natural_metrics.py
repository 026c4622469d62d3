"""NIQE and BRISQUE as metrics: natural-scene statistics of one picture, without a reference.

Place in the flow: `metrics` lists them; the measures themselves stand in `niqe` and `brisque`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from supir_console import installed_version
from supir_quality import brisque as brisque_measure
from supir_quality import niqe as niqe_measure
from supir_quality.errors import MeasureMissing
from supir_quality.metric import Identity, Metric, MetricMissing, named

NIQE_MIN_PX = 2 * niqe_measure.BLOCK_PX  # two of its blocks a side


def niqe(weights: Path | None) -> Metric:
    """Returns NIQE, with the parameters in `weights` where it holds them, else the installed ones.

    Raises:
        MetricMissing: there are none.
    """
    given = weights / niqe_measure.FILE if weights else None
    try:
        parameters = niqe_measure.NiqeParameters.load(given if given and given.is_file() else None)
    except MeasureMissing as error:
        raise MetricMissing(str(error)) from error

    def compute(restored: torch.Tensor, _: torch.Tensor | None) -> float:
        return niqe_measure.niqe(niqe_measure.luma(_bytes(restored)), parameters)

    return Metric(_ours("niqe", (parameters.path,), niqe_measure.COLOUR_SPACE), compute, NIQE_MIN_PX)


def brisque(weights: Path | None) -> Metric:
    """Returns BRISQUE, with the model in `weights` where it holds one, else the installed one.

    Raises:
        MetricMissing: there is none.
    """
    given = weights / brisque_measure.FILE if weights else None
    try:
        model = brisque_measure.BrisqueModel.load(given if given and given.is_file() else None)
    except MeasureMissing as error:
        raise MetricMissing(str(error)) from error

    def compute(restored: torch.Tensor, _: torch.Tensor | None) -> float:
        return model.score(_bytes(restored))

    identity = _ours("brisque", model.files, brisque_measure.COLOUR_SPACE)
    return Metric(identity, compute, brisque_measure.MIN_SIDE_PX)


def _ours(metric: str, files: tuple[Path, ...], colour_space: str) -> Identity:
    return Identity(
        metric=metric,
        implementation=f"supir-stack {installed_version('supir-stack')}",
        weights=named(files),
        colour_space=colour_space,
        better="lower",
        needs_reference=False,
    )


def _bytes(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(1, 3, H, W) in 0..1 as (H, W, 3) uint8."""
    levels: npt.NDArray[np.uint8] = (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    return levels
