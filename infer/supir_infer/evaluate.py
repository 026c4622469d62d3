"""Measures restored pictures, and the LQ the same way, into a report that says what its numbers mean.

Place in the flow: `eval_cli` prints the report; the demo and benchmarks read it. Pictures come through
`images`, so both sides are sRGB and upright.
The law it keeps: nothing is resized to fit: a restored picture whose size differs from its reference is a
failure with its sizes. The only resize is the baseline's: the LQ, bicubic to the restored size. Means,
medians and quartiles are over the same pictures in every row and column: those of which no row is its
reference pixel for pixel. An identical pair has no PSNR; it is counted and named apart.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from supir_console import UserError
from supir_infer.images import FloatImage, ImageError, read_picture, resize
from supir_infer.matching import Matches, Sample, match_samples
from supir_infer.saving import read_metadata
from supir_quality.metrics import Metric, build_metrics

RESIZE_POLICY = "restored: none, sizes must match; bicubic: the LQ, antialiased, to the restored size"
# What two reports must agree in to be compared; the LQ too, where both have one.
SAME_IN_BOTH = (
    "sample_list_sha256",
    "reference_list_sha256",
    "num_images",
    "averaged_list_sha256",
    "crop_border_px",
    "resize_policy",
    "metrics",
)
Row = dict[str, float]
Averages = dict[str, float | None]
"""By metric; None where no picture is averaged."""


@dataclass(frozen=True, slots=True)
class Partners:
    """SHA-256 of the reference's and the LQ's files, None where there is none."""

    reference: str | None
    lq: str | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Per picture: figures by row ("restored", "bicubic") and metric, size, partners' hashes; the failed ones.

    `identical` holds for each row the pictures that are their reference, pixel for pixel, inside the crop border.
    """

    metrics: list[Metric]
    skipped: dict[str, str]
    matches: Matches
    crop_border_px: int
    figures: dict[str, dict[str, Row]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    partners: dict[str, Partners] = field(default_factory=dict)
    identical: dict[str, list[str]] = field(default_factory=dict)

    def averaged(self) -> list[str]:
        """Returns the measured pictures that the averages are over."""
        apart = {name for names in self.identical.values() for name in names}
        return [name for name in self.figures if name not in apart]

    def means(self) -> dict[str, Averages]:
        """Returns the mean of each metric over `averaged`, by row."""
        return self._over_pictures(lambda values: sum(values) / len(values))

    def quantiles(self, share: float) -> dict[str, Averages]:
        """Returns the value that `share` of the `averaged` pictures lie below, by row; between two it is linear."""
        return self._over_pictures(lambda values: float(np.quantile(values, share)))

    def _over_pictures(self, average: Callable[[list[float]], float]) -> dict[str, Averages]:
        rows, names = next(iter(self.figures.values()), {}), self.averaged()
        return {
            row: {
                metric.identity.metric: average(
                    [self.figures[name][row][metric.identity.metric] for name in names]
                )
                if names
                else None
                for metric in self.metrics
            }
            for row in rows
        }

    def report(self) -> dict[str, Any]:
        """Returns the report, ready for JSON."""
        return {
            "means": self.means(),
            "medians": self.quantiles(0.5),
            "lower_quartiles": self.quantiles(0.25),
            "upper_quartiles": self.quantiles(0.75),
            "identical": self.identical,
            "num_averaged": len(self.averaged()),
            "metrics": [asdict(metric.identity) for metric in self.metrics],
            "skipped_metrics": self.skipped,
            "crop_border_px": self.crop_border_px,
            "resize_policy": RESIZE_POLICY,
            "num_images": len(self.figures),
            "sample_list_sha256": _list_hash(self.figures),
            "averaged_list_sha256": _list_hash(self.averaged()),
            "reference_list_sha256": self._partners_hash("reference"),
            "lq_list_sha256": self._partners_hash("lq"),
            "sizes": dict(Counter(self.sizes.values()).most_common(3)),
            "made_with": _provenance(self.matches.samples),
            "missing": self.matches.missing,
            "failed": self.failed,
        }

    def _partners_hash(self, role: Literal["reference", "lq"]) -> str | None:
        """The hash of names and file hashes of the references or LQ of the measured pictures."""
        hashes = {name: getattr(self.partners[name], role) for name in self.figures}
        return (
            _list_hash(f"{name}\t{sha256}" for name, sha256 in hashes.items())
            if any(hashes.values())
            else None
        )


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
            partners, figures, identical = _measure(sample, picture, usable, crop_border_px)
        except ImageError as error:
            evaluation.failed[sample.name] = str(error)
        else:
            evaluation.figures[sample.name] = figures
            evaluation.partners[sample.name] = partners
            evaluation.sizes[sample.name] = _size(picture)
            for row in identical:
                evaluation.identical.setdefault(row, []).append(sample.name)
        on_image()
    return evaluation


def compare(report: dict[str, Any], earlier: dict[str, Any], earlier_path: str) -> dict[str, Averages]:
    """Returns how much the means changed against an earlier report, from `read_report` of that path, by row.

    Raises:
        UserError: the two reports measure different things or pictures; the first difference is named.
    """
    now = json.loads(json.dumps(report))  # tuples become lists, as in the file
    keys = [*SAME_IN_BOTH]
    if earlier["lq_list_sha256"] and now["lq_list_sha256"]:
        keys.append("lq_list_sha256")
    for key in keys:
        if now[key] != earlier[key]:
            raise UserError(f"{earlier_path} cannot be compared: {key} is {earlier[key]}, now {now[key]}")
    rows = earlier["means"].keys() & now["means"].keys()
    try:
        return {
            row: {
                name: None if value is None else value - earlier["means"][row][name]
                for name, value in now["means"][row].items()
            }
            for row in sorted(rows)
        }
    except (LookupError, TypeError) as error:
        raise _no_report(earlier_path, f"its means are {earlier['means']}") from error


def read_report(path: Path) -> dict[str, Any]:
    """Returns an earlier report.

    Raises:
        UserError: the file is none, or of another version.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_report(path, error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise _no_report(path, str(error)) from error
    if not isinstance(report, dict):
        raise _no_report(path, f"it holds a {type(report).__name__}")
    missing = [key for key in (*SAME_IN_BOTH, "lq_list_sha256", "means") if key not in report]
    if missing:
        raise _no_report(path, f"it has no {missing[0]}")
    if not isinstance(report["means"], dict):
        raise _no_report(path, f"its means are {report['means']!r}")
    return report


def _no_report(path: Path | str, reason: str | None) -> UserError:
    return UserError(f"{path} is no report of this version's supir-eval --json: {reason}")


def _measure(
    sample: Sample, restored: FloatImage, metrics: Sequence[Metric], crop_border_px: int
) -> tuple[Partners, dict[str, Row], list[str]]:
    """The partners, the figures by row, and the rows that are the reference itself."""
    reference = read_picture(sample.reference) if sample.reference else None
    lq = read_picture(sample.lq) if sample.lq else None
    clean = reference.rgb if reference else None
    if clean is not None and clean.shape != restored.shape:
        raise ImageError(
            f"{sample.name}: restored is {_size(restored)} px, the reference {_size(clean)}; "
            "nothing is resized: restore it with the --upscale that fits"
        )
    rows = {"restored": restored}
    if lq:
        rows["bicubic"] = resize(lq.rgb, (restored.shape[1], restored.shape[0]))
    partners = Partners(reference.sha256 if reference else None, lq.sha256 if lq else None)
    figures = {row: _figures(sample.name, image, clean, metrics) for row, image in rows.items()}
    inside = slice(crop_border_px, -crop_border_px or None)
    same = [
        row
        for row, image in rows.items()
        if clean is not None and np.array_equal(image[inside, inside], clean[inside, inside])
    ]
    return partners, figures, same


def _figures(name: str, image: FloatImage, reference: FloatImage | None, metrics: Sequence[Metric]) -> Row:
    for metric in metrics:
        if min(image.shape[:2]) < metric.min_side_px:
            raise ImageError(
                f"{name}: {metric.identity.metric} needs sides of {metric.min_side_px} px, "
                f"got {_size(image)}; leave it out with --metrics"
            )
    clean = None if reference is None else _tensor(reference)
    figures = {metric.identity.metric: metric.compute(_tensor(image), clean) for metric in metrics}
    for metric_name, value in figures.items():
        if not math.isfinite(value):  # NIQE of a picture without texture
            raise ImageError(f"{name}: {metric_name} has no value ({value}); leave it out with --metrics")
    return figures


def _list_hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


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
