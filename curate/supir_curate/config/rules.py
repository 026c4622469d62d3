"""The rules: which scores a picture must have to be kept, as a table that a config file can change.

Place in the flow: `thresholds` finds each rule's limit, `select` applies them to ledger columns; no picture is read.
The law: rules are tried in the table's order and the name of the first failed one is the reason. A score that has no
value for a picture (NaN: the JPEG quality of a PNG) cannot fail a rule.

The limits were set on photos, as they are and as cameras would have written them, their fakes, collages and
screenshots, so that no rule costs more than one good photo in a hundred (docs/curate/probes.md); they are a start to
be calibrated on your own data, not a standard: published limits for the same statistics differ eightfold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, field_validator

from supir_curate.strict import StrictConfig
from supir_curate.verdict import Reason

Keep = Literal[">=", "<="]


class Quantile(StrictConfig):
    """A limit at a quantile of the score: with `>=`, 0.05 drops what lies below the 5th percentile."""

    quantile: float = Field(
        gt=0, lt=1, description="share of the candidates whose score lies below the limit"
    )


class Top(StrictConfig):
    """A limit that keeps a share of the candidates, the best ones: the highest scores with `>=`."""

    top: float = Field(gt=0, le=1, description="share of the candidates that is kept")


def _kind(limit: Any) -> str:
    if isinstance(limit, Quantile | Top):
        return type(limit).__name__.lower()
    return next(iter(limit)) if isinstance(limit, dict) else "number"


Limit = Annotated[
    Annotated[float, Tag("number")] | Annotated[Quantile, Tag("quantile")] | Annotated[Top, Tag("top")],
    Discriminator(_kind),
]


class Rule(StrictConfig):
    """One limit on one score, as a number or to be found in the ledger."""

    score: str = Field(description="score that is compared; supir-curate report shows them all")
    keep: Keep = Field(description="how the score must compare with the limit to be kept")
    limit: Limit | None = Field(
        description="in the score's unit, or {quantile: 0.05} or {top: 0.5} of the ledger; null: off"
    )

    @field_validator("limit", mode="before")
    @classmethod
    def _one_kind(cls, given: Any) -> Any:
        if isinstance(given, dict) and ([*given] != ["quantile"] and [*given] != ["top"]):
            raise ValueError(f"a limit is a number, null, {{quantile: 0.05}} or {{top: 0.5}}, not {given}")
        return given


class Threshold(StrictConfig):
    """A rule whose limit is a number."""

    score: str
    keep: Keep
    limit: float | None
    """In the score's unit; None switches the rule off."""
    found: str
    """How the limit was found, in words."""

    def passes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Returns which values the rule keeps; NaN passes."""
        if self.limit is None:
            return np.ones(len(values), dtype=bool)
        kept = values >= self.limit if self.keep == ">=" else values <= self.limit
        return np.asarray(kept | np.isnan(values))


Rules = dict[str, Rule]
Thresholds = dict[str, Threshold]

DEFAULT_RULES: Rules = {
    # First: what was guessed is not the picture, and every other score is of it too.
    Reason.DAMAGED: Rule(score="jpeg_guessed_share", keep="<=", limit=0.002),
    Reason.BELOW_MIN_SIDE: Rule(score="short_side_px", keep=">=", limit=512),
    Reason.EXTREME_ASPECT: Rule(score="aspect_ratio", keep="<=", limit=3),
    Reason.TRANSPARENT: Rule(score="alpha_share", keep="<=", limit=0.01),
    # Before the looks of the pixels: strong compression imitates drawn graphics.
    Reason.LOW_JPEG_QUALITY: Rule(score="jpeg_quality", keep=">=", limit=60),
    Reason.SCREENSHOT: Rule(score="screen_score", keep="<=", limit=0.27),
    Reason.FEW_COLOURS: Rule(score="palette_share", keep="<=", limit=0.98),
    Reason.GREY: Rule(score="colourfulness", keep=">=", limit=3),
    Reason.BORDERED: Rule(score="border_share", keep="<=", limit=0.1),
    Reason.ENLARGED: Rule(score="doubling_trace", keep="<=", limit=0.04),
    Reason.RESAMPLED: Rule(score="resampling_trace", keep="<=", limit=0.08),
    Reason.LOW_DETAIL: Rule(score="detail_ratio", keep=">=", limit=0.6),
    # After what enlarging does: it draws rims out into seams.
    Reason.COLLAGE: Rule(score="seam_share", keep="<=", limit=0.45),
    Reason.BLURRED: Rule(score="laplacian_variance", keep=">=", limit=10),
    Reason.FLAT: Rule(score="flat_share", keep="<=", limit=0.95),
    Reason.NOISY: Rule(score="noise_sigma", keep="<=", limit=10),
    Reason.RECOMPRESSED: Rule(score="first_quality", keep=">=", limit=60),
    Reason.BLOCKY: Rule(score="blockiness", keep="<=", limit=1.5),
    Reason.OVERSHARPENED: Rule(score="overshoot", keep="<=", limit=0.18),
}

PASSED = -1


def first_failed(columns: Mapping[str, NDArray[np.float64]], thresholds: Thresholds) -> NDArray[np.int16]:
    """Returns for each row the number of the first rule that it fails, in the table's order; -1 for none.

    Args:
        columns: score name to (N,) float64, NaN where a score has no value.
        thresholds: the table.
    """
    num_rows = len(next(iter(columns.values()), ()))
    failed = np.full(num_rows, PASSED, dtype=np.int16)
    for number, threshold in enumerate(thresholds.values()):
        if threshold.limit is not None:
            failed[(failed == PASSED) & ~threshold.passes(columns[threshold.score])] = number
    return failed
