"""The rules: which scores a picture must have to be kept, as a table that a config file can change.

Place in the flow: `select` applies them to ledger columns; no picture is read. The law: rules are tried in the
table's order and the first failed one is the reason. A score that has no value for a picture (NaN: the JPEG
quality of a PNG) cannot fail a rule.

The limits were set on 48 photos, their fakes and 180 screenshots (README); they are a start to be calibrated on
your own data, not a standard: published limits for the same statistics differ eightfold.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from supir_console import Config
from supir_curate.scores import SCORE_NAMES
from supir_curate.verdict import Reason


class StrictConfig(Config):
    """Base of the curator's config: `true` is no number, and neither is "3"."""

    model_config = ConfigDict(strict=True)


class Rule(StrictConfig):
    """One limit on one score."""

    score: str = Field(description="score that is compared; supir-curate report shows them all")
    keep: Literal[">=", "<="] = Field(description="how the score must compare with the limit to be kept")
    limit: float | None = Field(description="in the score's unit; null switches the rule off")

    @field_validator("score")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCORE_NAMES:
            nearest = difflib.get_close_matches(name, SCORE_NAMES, n=1, cutoff=0.0)[0]
            raise ValueError(f"no such score; did you mean {nearest!r}? All: {', '.join(SCORE_NAMES)}")
        return name

    def passes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Returns which values the rule keeps; NaN passes."""
        if self.limit is None:
            return np.ones(len(values), dtype=bool)
        kept = values >= self.limit if self.keep == ">=" else values <= self.limit
        return np.asarray(kept | np.isnan(values))


Rules = dict[Reason, Rule]

DEFAULT_RULES: Rules = {
    Reason.BELOW_MIN_SIDE: Rule(score="short_side_px", keep=">=", limit=512),
    Reason.EXTREME_ASPECT: Rule(score="aspect_ratio", keep="<=", limit=3),
    Reason.TRANSPARENT: Rule(score="alpha_share", keep="<=", limit=0.01),
    # Before the looks of the pixels: strong compression imitates drawn graphics.
    Reason.LOW_JPEG_QUALITY: Rule(score="jpeg_quality", keep=">=", limit=60),
    Reason.SCREENSHOT: Rule(score="screen_score", keep="<=", limit=0.25),
    Reason.FEW_COLOURS: Rule(score="palette_share", keep="<=", limit=0.98),
    Reason.GREY: Rule(score="colourfulness", keep=">=", limit=3),
    Reason.BORDERED: Rule(score="border_share", keep="<=", limit=0.1),
    Reason.LOW_DETAIL: Rule(score="detail_ratio", keep=">=", limit=0.6),
    Reason.BLURRED: Rule(score="laplacian_variance", keep=">=", limit=20),
    Reason.FLAT: Rule(score="flat_share", keep="<=", limit=0.95),
    Reason.NOISY: Rule(score="noise_sigma", keep="<=", limit=10),
    Reason.BLOCKY: Rule(score="blockiness", keep="<=", limit=1.5),
    Reason.OVERSHARPENED: Rule(score="overshoot", keep="<=", limit=0.15),
}

PASSED = -1


def first_failed(columns: Mapping[str, NDArray[np.float64]], rules: Rules) -> NDArray[np.int16]:
    """Returns for each row the number of the first rule that it fails, in the table's order; -1 for none.

    Args:
        columns: score name to (N,) float64, NaN where a score has no value.
        rules: the table.
    """
    num_rows = len(next(iter(columns.values())))
    failed = np.full(num_rows, PASSED, dtype=np.int16)
    for number, rule in enumerate(rules.values()):
        failed[(failed == PASSED) & ~rule.passes(columns[rule.score])] = number
    return failed
