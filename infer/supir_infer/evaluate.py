"""Measures restored pictures, and the LQ the same way, into a report that says what its numbers mean.

Place in the flow: `eval_cli` prints the report; the demo and benchmarks read it. Pictures come through
`images`, so both sides are sRGB and upright.
The law it keeps: nothing is resized to fit: a restored picture whose size differs from its reference is a
failure with its sizes. The only resize is the baseline's: the LQ, bicubic to the restored size. Means are
over the same pictures in every row and column.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from supir_console import UserError
from supir_infer.images import FloatImage, ImageError, read_metadata, read_picture, resize
from supir_infer.matching import Matches, Sample, match_samples
from supir_infer.metrics import Metric, build_metrics

RESIZE_POLICY = "restored: none, sizes must match; bicubic: the LQ, antialiased, to the restored size"
Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Per picture: its figures by row ("restored", "bicubic") and metric, and its size; the failed ones."""

    metrics: list[Metric]
    skipped: dict[str, str]
    matches: Matches
    crop_border_px: int
    figures: dict[str, dict[str, Row]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)

    def means(self) -> dict[str, Row]:
        """Returns the mean of each metric over the measured pictures, by row."""
        rows = next(iter(self.figures.values()), {})
        names = [metric.identity.metric for metric in self.metrics]
        return {
            row: {
                name: sum(figure[row][name] for figure in self.figures.values()) / len(self.figures)
                for name in names
            }
            for row in rows
        }

    def report(self) -> dict[str, Any]:
        """Returns the report, ready for JSON."""
        return {
            "means": self.means(),
            "metrics": [asdict(metric.identity) for metric in self.metrics],
            "skipped_metrics": self.skipped,
            "crop_border_px": self.crop_border_px,
            "resize_policy": RESIZE_POLICY,
            "num_images": len(self.figures),
            "sample_list_sha256": hashlib.sha256("\n".join(self.figures).encode()).hexdigest(),
            "sizes": dict(Counter(self.sizes.values()).most_common(3)),
            "made_with": _provenance(self.matches.samples),
            "missing": self.matches.missing,
            "failed": self.failed,
        }


def evaluate(
    restored: Path,
    reference: Path | None,
    lq: Path | None,
    *,
    metrics: Sequence[str],
    weights: Path | None,
    device: torch.device,
    crop_border_px: int,
    on_image: Callable[[], None],
) -> Evaluation:
    """Returns the figures of every picture that has its partners.

    Args:
        restored: a picture, or a folder of pictures.
        reference: the clean picture or folder; without it only metrics that need none are measured.
        lq: the degraded picture or folder; adds the row "bicubic".
        metrics: names, see `metrics.METRICS`.
        weights: folder with weight files, see `build_metrics`.
        device: where the metrics run.
        crop_border_px: px taken off each side before measuring.
        on_image: called after every picture.

    Raises:
        UserError: nothing to measure, or with no metric that can be had.
    """
    matches = match_samples(restored, reference, lq)
    usable, skipped = build_metrics(metrics, weights, device, crop_border_px)
    if reference is None:
        for metric in [metric for metric in usable if metric.identity.needs_reference]:
            usable.remove(metric)
            skipped[metric.identity.metric] = "needs --reference"
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"no metric can be measured ({reasons})")
    evaluation = Evaluation(usable, skipped, matches, crop_border_px)
    for sample in matches.samples:
        try:
            picture = read_picture(sample.restored).rgb
            evaluation.figures[sample.name] = _measure(sample, picture, usable)
            evaluation.sizes[sample.name] = _size(picture)
        except ImageError as error:
            evaluation.failed[sample.name] = str(error)
        on_image()
    return evaluation


def compare(report: dict[str, Any], earlier_path: Path) -> dict[str, Row]:
    """Returns how much the means changed against an earlier report, by row.

    Raises:
        UserError: the two reports measure different things or pictures; the first difference is named.
    """
    try:
        earlier = json.loads(earlier_path.read_text(encoding="utf-8"))
        for key in ("sample_list_sha256", "num_images", "crop_border_px", "resize_policy", "metrics"):
            now, before = json.loads(json.dumps(report[key])), earlier[key]
            if now != before:
                raise UserError(f"{earlier_path} cannot be compared: {key} is {before}, now {now}")
        rows = earlier["means"].keys() & report["means"].keys()
        return {
            row: {name: value - earlier["means"][row][name] for name, value in report["means"][row].items()}
            for row in sorted(rows)
        }
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{earlier_path} is no report of supir-eval --json: {error!r}") from error


def _measure(sample: Sample, restored: FloatImage, metrics: Sequence[Metric]) -> dict[str, Row]:
    reference = read_picture(sample.reference).rgb if sample.reference else None
    if reference is not None and reference.shape != restored.shape:
        raise ImageError(
            f"{sample.name}: restored is {_size(restored)} px, the reference {_size(reference)}; "
            "nothing is resized: restore it with the --upscale that fits"
        )
    rows = {"restored": restored}
    if sample.lq:
        rows["bicubic"] = resize(read_picture(sample.lq).rgb, (restored.shape[1], restored.shape[0]))
    return {row: _figures(sample.name, image, reference, metrics) for row, image in rows.items()}


def _figures(name: str, image: FloatImage, reference: FloatImage | None, metrics: Sequence[Metric]) -> Row:
    for metric in metrics:
        if min(image.shape[:2]) < metric.min_side_px:
            raise ImageError(
                f"{name}: {metric.identity.metric} needs sides of {metric.min_side_px} px, "
                f"got {_size(image)}; leave it out with --metrics"
            )
    clean = None if reference is None else _tensor(reference)
    return {metric.identity.metric: metric.compute(_tensor(image), clean) for metric in metrics}


def _tensor(image: FloatImage) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def _provenance(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What the restored files say they were made with, and how many of them say so."""
    keys = ("model", "model_sha256", "settings_hash", "seed")
    counts: Counter[tuple[Any, ...]] = Counter()
    for sample in samples:
        metadata = read_metadata(sample.restored) or {}
        counts[tuple(metadata.get(key) for key in keys)] += 1
    return [{**dict(zip(keys, values, strict=True)), "images": count} for values, count in counts.items()]


def _size(image: FloatImage) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
