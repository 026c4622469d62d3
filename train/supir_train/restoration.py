"""Held-out pairs restored while the run trains: their PSNR, SSIM and LPIPS, and a sheet that shows them.

Place in the flow: `validation.py` calls it with the averaged weights in place. The laws it keeps: the figures are those
of `supir-eval` on the same 8-bit pictures, by the same code; and noise is keyed by the pair, so that two sheets differ
by the weights alone. As there, a pair that is identical is in no mean.

Legend: B images, S crop side in pixels.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from supir_console import UserError
from supir_images.decoding import to_bytes, to_unit
from supir_quality.metrics import Metric, build_metrics
from supir_shards import Store
from supir_train.best import BestFigure

METRICS = ("psnr", "ssim", "lpips")
SHEETS = "sheets"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """One pair: its number, and RGB uint8 (S, S, 3) pictures; `lq` is None where the fit restores a clean picture."""

    number: int
    lq: NDArray[np.uint8] | None
    restored: NDArray[np.uint8]
    hq: NDArray[np.uint8]


def usable_metrics(device: torch.device, *, told: bool) -> list[Metric]:
    """Returns those of `METRICS` that can be had here.

    Args:
        device: where they run.
        told: whether to log why another one cannot.
    """
    metrics, missing = build_metrics(METRICS, None, device, 0)
    for name, reason in missing.items() if told else ():
        log.warning("validation goes on without %s: %s", name, reason)
    return metrics


def require_best_measure(best: BestFigure) -> None:
    """Refuses a run that would keep its best checkpoint by a metric that cannot be had here.

    Raises:
        UserError: says what is missing.
    """
    if best not in METRICS:
        return
    _, missing = build_metrics([best], None, torch.device("cpu"), 0)
    if missing:
        raise UserError(f"validation.best={best}: {missing[best]}; or use validation_loss")


def measured(pairs: Sequence[Restored], metrics: Sequence[Metric]) -> dict[str, torch.Tensor]:
    """Returns each metric of the pairs that are not identical, one figure a pair, and which pairs are (1 or 0)."""
    identical = [np.array_equal(pair.restored, pair.hq) for pair in pairs]
    differing = [pair for pair, same in zip(pairs, identical, strict=True) if not same]
    figures = {
        metric.identity.metric: torch.tensor(
            [metric.compute(_unit(pair.restored), _unit(pair.hq)) for pair in differing], dtype=torch.float64
        )
        for metric in metrics
    }
    return figures | {"identical": torch.tensor(identical, dtype=torch.float64)}


def pictures(images: torch.Tensor) -> NDArray[np.uint8]:
    """Returns RGB uint8 (B, S, S, 3) of images (B, 3, S, S) in about [-1, 1], as the restorer writes them.

    What is no number shows as mid-grey; the loss of the same weights stops such a run.
    """
    images = images.nan_to_num(nan=0.0)
    return to_bytes((images.detach().float().permute(0, 2, 3, 1).cpu().numpy() + 1) / 2)


def write_sheet(run: Path, name: str, pairs: Sequence[Restored]) -> str:
    """Writes lq | restored | hq, a row a pair, as a PNG of the run folder; returns its path there."""
    from PIL import Image

    rows = [
        np.concatenate(
            [picture for picture in (pair.lq, pair.restored, pair.hq) if picture is not None], axis=1
        )
        for pair in pairs
    ]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "png")
    path = f"{SHEETS}/{name}.png"
    Store(run).write(path, file.getvalue())
    return path


def drop_other_sheets(run: Path, kept: set[str]) -> None:
    """Deletes the sheets that no line of metrics names: those after the checkpoint that a run goes on from."""
    for path in (run / SHEETS).glob("*.png"):
        if f"{SHEETS}/{path.name}" not in kept:
            path.unlink()


def _unit(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(to_unit(picture)).permute(2, 0, 1)[None]
