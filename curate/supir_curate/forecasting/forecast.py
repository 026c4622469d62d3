"""What a full run will give and take, from a pilot: survivors, bytes, hours, and how many candidates a target needs.

Place in the flow: `supir-curate forecast`. The law: the pilot is taken as a fair sample of the source, and every range
is the wider of Wilson's and of a bootstrap over parts, for pictures of one host come together; 95 %. Shares stay as in
the pilot, duplicates grow as `growth` says and hit all roles alike, and no role exceeds its quota. What was not
measured is not in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def plus(self, amount: float) -> Range:
        """Returns all three with an amount added."""
        return Range(self.expected + amount, self.low + amount, self.high + amount)

    def capped(self, most: float) -> Range:
        """Returns it with no end above a number."""
        return Range(min(self.expected, most), min(self.low, most), min(self.high, most))

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
        quotas: role to the number that is kept at most.
    """

    def __init__(self, pilot: Pilot, quotas: Mapping[str, int] | None = None) -> None:
        self.pilot, self._quotas = pilot, dict(quotas or {})
        self._passing = share(pilot.passing, pilot.seen)
        self._shares = {role: share(counts, pilot.seen) for role, counts in pilot.roles.items()}
        self._growth = foretold(pilot.group_sizes, int(pilot.passing.sum()))

    def kept(self, candidates: float) -> Range:
        """Returns how many are kept of so many candidates."""
        if not self._quotas:
            return self.survivors(candidates)
        capped = [
            found.capped(self._quotas.get(role, MAX_CANDIDATES))
            for role, found in self.of_roles(candidates).items()
        ]
        return Range(*np.sum([[one.expected, one.low, one.high] for one in capped], axis=0).tolist())

    def of_roles(self, candidates: float) -> dict[str, Range]:
        """Returns how many of each role pass the rules and are no duplicates, before its quota."""
        all_left, all_passing = self.survivors(candidates), self._passing.times(candidates)
        stays = [
            left / max(1e-9, passing)
            for left, passing in (
                (all_left.expected, all_passing.expected),
                (all_left.low, all_passing.low),
                (all_left.high, all_passing.high),
            )
        ]
        return {
            role: Range(
                *(
                    end * stay * candidates
                    for end, stay in zip((one.expected, one.low, one.high), stays, strict=True)
                )
            )
            for role, one in self._shares.items()
        }

    def filled_at(self, role: str, count: int) -> float | None:
        """Returns how many candidates give a number of one role, as expected; None for never."""
        return self._reached(count, lambda candidates: self.of_roles(candidates)[role].expected)

    def survivors(self, candidates: float) -> Range:
        """Returns how many of so many candidates pass the rules and are no duplicates, before quotas."""
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
            if name not in (*DUPLICATES, Reason.OVER_QUOTA)
        }
        together = sum(int(pilot.reasons[name].sum()) for name in DUPLICATES if name in pilot.reasons)
        for name in DUPLICATES:
            if name in pilot.reasons:
                part = int(pilot.reasons[name].sum()) / max(1, together)
                found[str(name)] = self.duplicates(candidates).times(part).rounded()
        if self._quotas:
            found[str(Reason.OVER_QUOTA)] = self._over_quota(candidates).rounded()
        return dict(sorted(found.items()))

    def _over_quota(self, candidates: float) -> Range:
        over = [
            [max(0.0, end - self._quotas[role]) for end in (left.expected, left.low, left.high)]
            for role, left in self.of_roles(candidates).items()
            if role in self._quotas
        ]
        return Range(*np.sum([[0.0] * 3, *over], axis=0).tolist())

    def needed(self, target: int) -> dict[str, float | None]:
        """Returns how many candidates give a number of kept ones: expected, at best, at worst; None for never."""
        ends: dict[str, Callable[[Range], float]] = {
            "expected": lambda kept: kept.expected,
            "at_best": lambda kept: kept.high,
            "at_worst": lambda kept: kept.low,
        }
        return {
            name: self._reached(target, lambda candidates, end=end: end(self.kept(candidates)))  # type: ignore[misc]
            for name, end in ends.items()
        }

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

    def _reached(self, target: int, amount: Callable[[float], float]) -> int | None:
        low, high = 0.0, 1.0
        while amount(high) < target:
            low, high = high, high * 2
            if high > MAX_CANDIDATES:
                return None
        while high - low > max(1.0, high * 1e-6):
            middle = (low + high) / 2
            low, high = (low, middle) if amount(middle) >= target else (middle, high)
        return int(np.ceil(high))
