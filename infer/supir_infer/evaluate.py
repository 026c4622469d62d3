"""Measures restored pictures, and the LQ the same way.

Place in the flow: `eval_cli` asks, `evaluation` holds the figures and makes the report. Pictures come through
`images`, so every side is sRGB and upright.
The law it keeps: nothing is resized to fit: a restored picture whose size differs from its reference is a failure
with its sizes. The only resizes are the baseline's, the LQ enlarged to the restored size, and those that
consistency and colour shift are defined by. Whatever goes wrong with one picture is its failure, and the others are
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from supir_console import UserError
from supir_infer.against_lq import require_same_shape
from supir_infer.artefacts import Found
from supir_infer.evaluation import Evaluation, Measured
from supir_infer.images import FloatImage, ImageError, Picture, read_picture, resize
from supir_infer.matching import Matches, Sample
from supir_infer.own_measures import OWN_MEASURES, OwnMeasure
from supir_infer.saving import read_metadata
from supir_infer.seams import Tiles, seam_ratio, told_tiles
from supir_quality.metrics import METRICS, Identity, Metric, build_metrics

CPU = torch.device("cpu")
MID_GREY = 0.5  # under transparent pixels


@dataclass(frozen=True, slots=True)
class Ways:
    """How pictures are measured.

    Args:
        metrics: names, of `supir_quality.metrics.METRICS` and OWN_MEASURES.
        weights: folder with weight files, see `build_metrics`.
        device: where the metrics run.
        crop_border_px: px taken off each side before the metrics of `supir_quality` measure.
        tiles: side and stride in px of the tiles of pictures that do not say how they were tiled.
    """

    metrics: Sequence[str]
    weights: Path | None = None
    device: torch.device = CPU
    crop_border_px: int = 0
    tiles: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Instruments:
    metrics: list[Metric]
    own: list[OwnMeasure]
    ways: Ways

    def identities(self) -> list[Identity]:
        """In the order in which they were asked for."""
        found = [metric.identity for metric in self.metrics] + [measure.identity for measure in self.own]
        return sorted(found, key=lambda identity: list(self.ways.metrics).index(identity.metric))


def evaluate(matches: Matches, ways: Ways, on_image: Callable[[], None]) -> Evaluation:
    """Returns the figures of every picture that has its partners.

    Args:
        matches: the pictures and their partners; an LQ adds the row "bicubic".
        ways: how they are measured.
        on_image: called after every picture.

    Raises:
        UserError: a metric is unknown, or none can be had.
    """
    instruments, skipped = _instruments(matches.samples[0], ways)
    evaluation = Evaluation(instruments.identities(), skipped, matches, ways.crop_border_px)
    for sample in matches.samples:
        try:
            evaluation.pictures[sample.name] = _measure(sample, instruments)
        except ImageError as error:
            evaluation.failed[sample.name] = str(error)
        except Exception as error:  # the edge at which one picture's fault ends
            evaluation.failed[sample.name] = f"{sample.name}: {type(error).__name__}: {str(error)[:200]}"
        on_image()
    return evaluation


def _instruments(sample: Sample, ways: Ways) -> tuple[_Instruments, dict[str, str]]:
    unknown = [name for name in ways.metrics if name not in METRICS and name not in OWN_MEASURES]
    if unknown:
        raise UserError(f"metric {unknown[0]!r} is unknown; use {', '.join([*METRICS, *OWN_MEASURES])}")
    names = list(dict.fromkeys(ways.metrics))
    metrics, skipped = build_metrics(
        [name for name in names if name in METRICS], ways.weights, ways.device, ways.crop_border_px
    )
    own = [OWN_MEASURES[name]() for name in names if name in OWN_MEASURES]
    for identity in [*(metric.identity for metric in metrics), *(measure.identity for measure in own)]:
        if identity.needs_reference and sample.reference is None:
            skipped[identity.metric] = "needs --reference"
        elif identity.needs_lq and sample.lq is None:
            skipped[identity.metric] = "needs --lq"
    usable = _Instruments(
        [metric for metric in metrics if metric.identity.metric not in skipped],
        [measure for measure in own if measure.identity.metric not in skipped],
        ways,
    )
    if not usable.metrics and not usable.own:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"no metric can be measured ({reasons})")
    return usable, skipped


def _measure(sample: Sample, instruments: _Instruments) -> Measured:
    pictures = {
        role: read_picture(path)
        for role, path in (("restored", sample.restored), ("reference", sample.reference), ("lq", sample.lq))
        if path is not None
    }
    restored = opaque(pictures["restored"])
    reference = opaque(pictures["reference"]) if "reference" in pictures else None
    lq = opaque(pictures["lq"]) if "lq" in pictures else None
    _require_sizes(sample.name, restored, reference, lq)
    rows = {"restored": restored}
    if lq is not None:
        rows["bicubic"] = resize(lq, (restored.shape[1], restored.shape[0]))
    found = {row: _found(sample.name, image, reference, lq, instruments) for row, image in rows.items()}
    border = instruments.ways.crop_border_px
    inside = slice(border, -border or None)
    return Measured(
        size=_size(restored),
        reference_sha256=pictures["reference"].sha256 if reference is not None else None,
        lq_sha256=pictures["lq"].sha256 if lq is not None else None,
        figures={
            row: {metric: one.value for metric, one in by_metric.items()} for row, by_metric in found.items()
        },
        where={row: _places(by_metric) for row, by_metric in found.items() if _places(by_metric)},
        identical=[
            row
            for row, image in rows.items()
            if reference is not None and np.array_equal(image[inside, inside], reference[inside, inside])
        ],
        seam=_seam(sample, restored, instruments.ways),
        has_alpha=any(picture.alpha is not None for picture in pictures.values()),
    )


def opaque(picture: Picture) -> FloatImage:
    """Returns the picture, (H, W, 3) in 0..1, its transparent pixels over mid grey."""
    if picture.alpha is None:
        return picture.rgb
    alpha = picture.alpha[..., None]
    return picture.rgb * alpha + np.float32(MID_GREY) * (1 - alpha)


def _require_sizes(
    name: str, restored: FloatImage, reference: FloatImage | None, lq: FloatImage | None
) -> None:
    if reference is not None and reference.shape != restored.shape:
        raise ImageError(
            f"{name}: restored is {_size(restored)} px, the reference {_size(reference)}; "
            "nothing is resized: restore it with the --upscale that fits"
        )
    if lq is not None:
        try:
            require_same_shape(restored, lq)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error


def _found(
    name: str,
    image: FloatImage,
    reference: FloatImage | None,
    lq: FloatImage | None,
    instruments: _Instruments,
) -> dict[str, Found]:
    for instrument in (*instruments.metrics, *instruments.own):
        if min(image.shape[:2]) < instrument.min_side_px:
            raise ImageError(
                f"{name}: {instrument.identity.metric} needs sides of {instrument.min_side_px} px, "
                f"got {_size(image)}; leave it out with --metrics"
            )
    clean = None if reference is None else _tensor(reference)
    found = {
        metric.identity.metric: Found(metric.compute(_tensor(image), clean)) for metric in instruments.metrics
    }
    found |= {measure.identity.metric: measure.compute(image, lq) for measure in instruments.own}
    for metric_name, one in found.items():
        if not math.isfinite(one.value):  # NIQE of a picture without texture
            raise ImageError(f"{name}: {metric_name} has no value ({one.value}); leave it out with --metrics")
    return found


def _places(found: dict[str, Found]) -> dict[str, str]:
    return {metric: one.where for metric, one in found.items() if one.where}


def _seam(sample: Sample, restored: FloatImage, ways: Ways) -> Found | None:
    size = (restored.shape[1], restored.shape[0])
    tiles = told_tiles(read_metadata(sample.restored), size)
    if tiles is None and ways.tiles is not None:
        tiles = Tiles(*ways.tiles, size)
    return seam_ratio(restored, tiles) if tiles else None


def _tensor(image: FloatImage) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def _size(image: FloatImage) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
