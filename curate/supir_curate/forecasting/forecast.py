"""What a full run will give and take, from a pilot: survivors, bytes, hours, and how many candidates a target needs.

Place in the flow: `supir-curate forecast`. The law: the pilot is taken as a fair sample of the source, and every range
is the wider of Wilson's and of a bootstrap over parts, for pictures of one host come together; 95 %. Shares stay as in
the pilot, duplicates grow as `growth` says, quotas are not applied. What was not measured is not in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.forecasting.growth import MAX_GROWTH, foretold
from supir_curate.forecasting.pilot import Pilot
from supir_curate.verdict import Reason

Z = 1.959964  # of a two-sided 95 % range
MIN_PARTS = 5  # fewer say nothing about how parts differ
RESAMPLES = 1000
MAX_CANDIDATES = 1e13
DUPLICATES = (Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE)


@dataclass(frozen=True, slots=True)
class Range:
    """An expected value and the ends of its 95 % range."""

    expected: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        """Returns all three times a factor."""
        return Range(self.expected * factor, self.low * factor, self.high * factor)

    def rounded(self, digits: int = 0) -> dict[str, float]:
        """Returns it as numbers for people and programs."""
        named = {"expected": self.expected, "low": self.low, "high": self.high}
        return {name: round(value, digits) if digits else round(value) for name, value in named.items()}


def share(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> Range:
    """Returns the share of a kind with its range.

    Args:
        counts: (P,) candidates of the kind in each part.
        totals: (P,) candidates in each part.
    """
    total, count = int(totals.sum()), int(counts.sum())
    p = count / total
    middle, half = (p + Z**2 / (2 * total)), Z * np.sqrt(p * (1 - p) / total + Z**2 / (4 * total**2))
    low, high = ((middle + sign * half) / (1 + Z**2 / total) for sign in (-1, 1))
    ratio = ratio_of(counts, totals)
    return Range(p, max(0.0, min(low, ratio.low)), min(1.0, max(high, ratio.high)))


def ratio_of(amounts: NDArray[Any], totals: NDArray[np.int64]) -> Range:
    """Returns an amount a candidate with its range over resampled parts; without range below `MIN_PARTS` parts."""
    expected = float(amounts.sum() / totals.sum())
    if len(totals) < MIN_PARTS:
        return Range(expected, expected, expected)
    drawn = np.random.default_rng(0).integers(0, len(totals), (RESAMPLES, len(totals)))
    ratios = amounts[drawn].sum(axis=1) / totals[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Range(expected, min(expected, float(low)), max(expected, float(high)))


class Forecast:
    """The figures of a run over any number of candidates.

    Args:
        pilot: what was found in the pilot.
    """

    def __init__(self, pilot: Pilot) -> None:
        self.pilot = pilot
        self._passing = share(pilot.passing, pilot.seen)
        self._growth = foretold(pilot.group_sizes, int(pilot.passing.sum()))

    def kept(self, candidates: float) -> Range:
        """Returns how many are kept of so many candidates."""
        law, least, most = self._growth
        passing = self._passing.times(candidates)
        return Range(
            *(
                number - growth.duplicates(number)
                for number, growth in (
                    (passing.expected, law),
                    (passing.low, most),
                    (passing.high, least),
                )
            )
        )

    def duplicates(self, candidates: float) -> Range:
        """Returns how many duplicates there are among so many candidates."""
        law, least, most = self._growth
        passing = self._passing.times(candidates)
        return Range(
            law.duplicates(passing.expected), least.duplicates(passing.low), most.duplicates(passing.high)
        )

    def reasons(self, candidates: float) -> dict[str, dict[str, float]]:
        """Returns how many each reason takes; duplicates of each kind as their share in the pilot."""
        pilot = self.pilot
        found = {
            name: share(counts, pilot.seen).times(candidates).rounded()
            for name, counts in pilot.reasons.items()
            if name not in DUPLICATES
        }
        together = sum(int(pilot.reasons[name].sum()) for name in DUPLICATES if name in pilot.reasons)
        for name in DUPLICATES:
            if name in pilot.reasons:
                part = int(pilot.reasons[name].sum()) / together
                found[str(name)] = self.duplicates(candidates).times(part).rounded()
        return dict(sorted(found.items()))

    def needed(self, target: int) -> dict[str, float | None]:
        """Returns how many candidates give a number of kept ones: expected, at best, at worst; None for never."""
        ends: dict[str, Callable[[Range], float]] = {
            "expected": lambda kept: kept.expected,
            "at_best": lambda kept: kept.high,
            "at_worst": lambda kept: kept.low,
        }
        return {name: self._needed(target, end) for name, end in ends.items()}

    def law(self, candidates: float) -> dict[str, Any]:
        """Returns the law that duplicates follow, and how far beyond its reach the run goes."""
        law = self._growth[0]
        beyond = self._passing.expected * candidates / max(1, MAX_GROWTH * law.pilot)
        return {
            "exponent": round(law.exponent, 3),
            "bend_a_doubling": round(law.bend, 3),
            "pilot_pictures": law.pilot,
            "followed_to": MAX_GROWTH * law.pilot,
            "times_beyond": round(beyond, 1) if beyond > 1 else 0,
        }

    def _needed(self, target: int, end: Callable[[Range], float]) -> int | None:
        low, high = 0.0, 1.0
        while end(self.kept(high)) < target:
            low, high = high, high * 2
            if high > MAX_CANDIDATES:
                return None
        while high - low > max(1.0, high * 1e-6):
            middle = (low + high) / 2
            low, high = (low, middle) if end(self.kept(middle)) >= target else (middle, high)
        return int(np.ceil(high))


def rates_from(texts: Sequence[str]) -> dict[str, float]:
    """Returns GPU rates by name, from texts such as "captions=18.8" (pictures a second of one GPU).

    Raises:
        UserError: a text has another form.
    """
    from supir_console import UserError

    rates = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            rates[name] = float(number)
        except ValueError:
            rates[name] = 0.0
        if not equals or not name or not rates[name] > 0:
            raise UserError(f"--rate {text!r} is not NAME=PICTURES_A_SECOND, such as captions=18.8")
    return rates
