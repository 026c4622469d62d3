"""What was measured of each picture, its averages, and the report that says what its numbers mean.

Place in the flow: `evaluate` fills an `Evaluation`; `eval_cli` prints its report, `comparison` reads two of them.
The law it keeps: means, intervals, medians and quartiles are over the same pictures in every row and column: those
of which no row is its reference pixel for pixel. An identical pair has no PSNR; it is counted and named apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from supir_infer.artefacts import Found
from supir_infer.averages import Interval, mean, mean_intervals, quantile
from supir_infer.matching import Matches, Sample
from supir_infer.saving import read_metadata
from supir_quality.metric import Identity

RESIZE_POLICY = "restored: none, sizes must match; bicubic: the LQ, antialiased, to the restored size"
ALPHA_POLICY = "transparent pixels lie over mid grey, on every side"
WORST = 5  # seams and grids that are named

Row = dict[str, float]
Averages = dict[str, float | None]
"""By metric; None where no picture is averaged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one picture.

    Args:
        size: of the restored picture, "WIDTHxHEIGHT".
        reference_sha256: of the reference's file, None where there is none.
        lq_sha256: of the LQ's file, None where there is none.
        figures: by row ("restored", "bicubic") and metric.
        where: in words, of those figures that have a place.
        identical: rows that are the reference, pixel for pixel, inside the crop border.
        seam: ratio at the tiles' borders, None where there are none or nobody knows.
        has_alpha: whether any of its files has transparent pixels.
    """

    size: str
    reference_sha256: str | None
    lq_sha256: str | None
    figures: dict[str, Row]
    where: dict[str, dict[str, str]] = field(default_factory=dict)
    identical: list[str] = field(default_factory=list)
    seam: Found | None = None
    has_alpha: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, by picture, and what could not be: metrics, partners, pictures, each with its reason."""

    metrics: list[Identity]
    skipped: dict[str, str]
    matches: Matches
    crop_border_px: int
    pictures: dict[str, Measured] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def averaged(self) -> list[str]:
        """Returns the measured pictures that the averages are over."""
        return [name for name, picture in self.pictures.items() if not picture.identical]

    def rows(self) -> list[str]:
        """Returns the rows that every picture has."""
        return list(next(iter(self.pictures.values())).figures) if self.pictures else []

    def column(self, row: str, metric: str) -> list[float]:
        """Returns a metric's figures of the `averaged` pictures."""
        return [self.pictures[name].figures[row][metric] for name in self.averaged()]

    def means(self) -> dict[str, Averages]:
        """Returns the mean of each metric over `averaged`, by row."""
        return self._over_pictures(mean)

    def quantiles(self, share: float) -> dict[str, Averages]:
        """Returns the value that `share` of the `averaged` pictures lie below, by row; between two it is linear."""
        return self._over_pictures(lambda values: quantile(values, share))

    def intervals(self) -> dict[str, dict[str, Interval | None]]:
        """Returns the 95 % bootstrap interval of each mean, by row; None where there are fewer than two pictures."""
        names = [identity.metric for identity in self.metrics]
        return {
            row: dict(zip(names, mean_intervals([self.column(row, metric) for metric in names]), strict=True))
            for row in self.rows()
        }

    def _over_pictures(self, average: Callable[[list[float]], float | None]) -> dict[str, Averages]:
        return {
            row: {identity.metric: average(self.column(row, identity.metric)) for identity in self.metrics}
            for row in self.rows()
        }

    def identical(self) -> dict[str, list[str]]:
        """Returns the pictures that are their reference, by row."""
        found: dict[str, list[str]] = {}
        for name, picture in self.pictures.items():
            for row in picture.identical:
                found.setdefault(row, []).append(name)
        return found

    def report(self) -> dict[str, Any]:
        """Returns the report, ready for JSON."""
        pictures = self.pictures.values()
        return {
            "means": self.means(),
            "intervals": self.intervals(),
            "medians": self.quantiles(0.5),
            "lower_quartiles": self.quantiles(0.25),
            "upper_quartiles": self.quantiles(0.75),
            "identical": self.identical(),
            "num_averaged": len(self.averaged()),
            "metrics": [asdict(identity) for identity in self.metrics],
            "skipped_metrics": self.skipped,
            "crop_border_px": self.crop_border_px,
            "resize_policy": RESIZE_POLICY,
            "alpha_policy": ALPHA_POLICY,
            "num_with_alpha": sum(picture.has_alpha for picture in pictures),
            "num_images": len(self.pictures),
            "sample_list_sha256": _list_hash(self.pictures),
            "averaged_list_sha256": _list_hash(self.averaged()),
            "reference_list_sha256": self._partners_hash("reference_sha256"),
            "lq_list_sha256": self._partners_hash("lq_sha256"),
            "sizes": dict(Counter(picture.size for picture in pictures).most_common(3)),
            "made_with": _provenance(
                sample for sample in self.matches.samples if sample.name in self.pictures
            ),
            "seams": self._seams(),
            "missing": self.matches.missing,
            "failed": self.failed,
            "pictures": {name: _as_json(picture) for name, picture in self.pictures.items()},
        }

    def _partners_hash(self, role: Literal["reference_sha256", "lq_sha256"]) -> str | None:
        """The hash of names and file hashes of the references or LQ of the measured pictures."""
        hashes = {name: getattr(picture, role) for name, picture in self.pictures.items()}
        return (
            _list_hash(f"{name}\t{sha256}" for name, sha256 in hashes.items())
            if any(hashes.values())
            else None
        )

    def _seams(self) -> dict[str, Any]:
        """How far the tiles' borders stand out, of the pictures whose borders are known."""
        known = {name: picture.seam for name, picture in self.pictures.items() if picture.seam}
        worst = sorted(known, key=lambda name: -known[name].value)[:WORST]
        return {
            "num_tiled": len(known),
            "mean_ratio": mean([seam.value for seam in known.values()]),
            "worst": [
                {"name": name, "ratio": known[name].value, "line": known[name].where} for name in worst
            ],
        }


def _as_json(picture: Measured) -> dict[str, Any]:
    fields = asdict(picture)
    fields["seam"] = picture.seam.value if picture.seam else None
    return fields


def _list_hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _provenance(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """What the measured files say they were made with, and how many of them say so."""
    keys = ("model", "model_sha256", "settings_hash", "seed")
    counts: Counter[tuple[Any, ...]] = Counter()
    for sample in samples:
        metadata = read_metadata(sample.restored) or {}
        counts[tuple(metadata.get(key) for key in keys)] += 1
    return [{**dict(zip(keys, values, strict=True)), "images": count} for values, count in counts.items()]
