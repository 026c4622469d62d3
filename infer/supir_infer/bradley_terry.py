"""Strengths from pairwise votes, with how sure they are.

Place in the flow: `vote_cli` counts a ballot's votes here. Model: one method is preferred over another with
probability 1 / (1 + exp(strength of the other - its own)). A tie counts as half a vote for each, and every pair
starts with half a vote on each side, so that a method that always wins has a finite strength; with two methods a
strength differs by log((wins + ties / 2 + 1/2) / (losses + ties / 2 + 1/2)).
Limits: votes count as independent; many on one picture tell less than as many on different ones.
Source: R. Bradley and M. Terry, "Rank Analysis of Incomplete Block Designs", Biometrika 1952; the half votes are
those of F. Anscombe, "On Estimating Binomial Response Relations", Biometrika 1956.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supir_infer.averages import CONFIDENCE, Interval

START_VOTES = 0.5  # on each side of every pair

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vote:
    """Which of two methods, by number, was preferred; `tie` where neither was, and then their order says nothing."""

    preferred: int
    other: int
    tie: bool = False


@dataclass(frozen=True, slots=True)
class Strengths:
    """Of each method its strength (log odds, mean 0), of each pair the share that prefers the first; 95 % intervals.

    Args:
        strengths: (N,).
        covariance: (N, N) of them.
    """

    strengths: Matrix
    covariance: Matrix

    def intervals(self) -> list[Interval]:
        """Returns the 95 % interval of each strength."""
        half = _z() * np.sqrt(np.diag(self.covariance))
        return [
            (float(own - width), float(own + width)) for own, width in zip(self.strengths, half, strict=True)
        ]

    def share(self, one: int, other: int) -> tuple[float, Interval]:
        """Returns the share of votes that prefer `one` over `other`, 0 to 1, and its 95 % interval."""
        difference = float(self.strengths[one] - self.strengths[other])
        covariance = self.covariance
        variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        half = _z() * float(np.sqrt(variance))
        return _share(difference), (_share(difference - half), _share(difference + half))


def fit(num_methods: int, votes: Sequence[Vote]) -> Strengths:
    """Returns the strengths that make the votes most likely.

    Args:
        num_methods: 2 or more.
        votes: between methods 0 to `num_methods` - 1.
    """
    from scipy.optimize import minimize

    won = tally(num_methods, votes) + START_VOTES * (1 - np.eye(num_methods))
    together = won + won.T

    def loss(strengths: Matrix) -> tuple[float, Matrix]:
        ahead = strengths[:, None] - strengths[None]
        expected = together / (1 + np.exp(-ahead))
        return float((won * np.logaddexp(0, -ahead)).sum()), (expected - won).sum(axis=1)

    found = minimize(loss, np.zeros(num_methods), jac=True, method="BFGS", options={"gtol": 1e-8})
    strengths = found.x - found.x.mean()
    chance = 1 / (1 + np.exp(strengths[None] - strengths[:, None]))
    weights = together * chance * (1 - chance)
    information = np.diag(weights.sum(axis=1)) - weights
    return Strengths(strengths, np.asarray(np.linalg.pinv(information, hermitian=True)))


def tally(num_methods: int, votes: Sequence[Vote]) -> Matrix:
    """Returns how often each method (row) was preferred over each other (column); a tie is half a vote for each."""
    won = np.zeros((num_methods, num_methods))
    for vote in votes:
        if vote.tie:
            won[vote.preferred, vote.other] += 0.5
            won[vote.other, vote.preferred] += 0.5
        else:
            won[vote.preferred, vote.other] += 1
    return won


def _share(difference: float) -> float:
    return float(1 / (1 + np.exp(-difference)))


def _z() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + CONFIDENCE) / 2))
