"""How duplicates grow with the number of pictures, from the groups that a pilot found.

Place in the flow: `forecast`. The law: in a random share f of the pilot, a group of g pictures that show the same
leaves gf - 1 + (1 - f)^g duplicates on average, so how the pilot's own duplicates D grew is known without drawing a
sample. The exponent b of D = A n^b at the pilot's size follows from it, and so does how b - 1 shrinks with every
doubling; both are carried on, to 30 times the pilot; beyond that the share of duplicates stays. A pilot of single pairs
says little about larger groups: its b is 2 and stays.

GPIC (arXiv 2605.30341) fits A and b alone, over sizes that differ 30-fold; benchmarks/curate_forecast.py compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log2

import numpy as np
from numpy.typing import NDArray

MAX_GROWTH = 30
RESAMPLES = 200
UNSEEN_PAIRS = 3  # with none seen there are, 95 times of 100, fewer than three on average

Sizes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Duplicates among n pictures.

    Args:
        pilot: pictures in the pilot.
        duplicates_there: duplicates among them.
        exponent: b at the pilot's size, 1 to 2.
        bend: factor by which b - 1 shrinks with every doubling; 1 for a plain power law.
    """

    pilot: int
    duplicates_there: float
    exponent: float = 1.0
    bend: float = 1.0

    def duplicates(self, pictures: float) -> float:
        """Returns the expected number of duplicates among that many pictures; never all of them."""
        inside = min(pictures, float(MAX_GROWTH * self.pilot))
        if inside <= 0 or not self.duplicates_there:
            return 0.0
        doublings = log2(inside / self.pilot)
        bent = doublings
        if doublings > 0 and self.bend < 1 - 1e-9:
            bent = (1 - self.bend**doublings) / -log(self.bend)
        found = self.duplicates_there * 2 ** (doublings + (self.exponent - 1) * bent)
        return min(found * pictures / inside, max(0.0, pictures - 1))


def duplicates_in_share(sizes: Sizes, share: float) -> float:
    """Returns how many duplicates a random share of a pilot has on average.

    Args:
        sizes: pictures in each group that show the same; groups of one may be left out.
        share: 0 to 1.

    Example:
        >>> duplicates_in_share(np.array([2, 3]), 1.0)
        3.0
        >>> duplicates_in_share(np.array([2]), 0.5)
        0.25
    """
    return float((sizes * share - 1 + (1 - share) ** sizes).sum())


def exponent_at(sizes: Sizes, share: float) -> float:
    """Returns b of D = A n^b at a share of a pilot: 2 for pairs alone, less for larger groups.

    Example:
        >>> exponent_at(np.array([2]), 0.5)
        2.0
        >>> exponent_at(np.array([3]), 1.0)
        1.5
    """
    rise = sizes * share * (1 - (1 - share) ** (sizes - 1))
    return float(rise.sum()) / duplicates_in_share(sizes, share)


def foretold(sizes: Sequence[int], pilot: int) -> tuple[Growth, Growth, Growth]:
    """Returns the law, and its ends: the pilot's share for good, and a plain power law over resampled groups.

    Args:
        sizes: of the groups of two and more.
        pilot: pictures among which they were found.
    """
    if not sizes or pilot < 2:
        none = Growth(pilot=pilot, duplicates_there=0)
        return none, none, Growth(pilot=pilot, duplicates_there=UNSEEN_PAIRS, exponent=2.0)
    groups = np.asarray(sizes, dtype=np.int64)
    found, exponent = duplicates_in_share(groups, 1.0), exponent_at(groups, 1.0)
    bend = (exponent - 1) / (exponent_at(groups, 0.5) - 1)
    law = Growth(pilot=pilot, duplicates_there=found, exponent=exponent, bend=min(1.0, bend))
    rng = np.random.default_rng(0)
    drawn = [rng.choice(groups, max(1, int(rng.poisson(len(groups))))) for _ in range(RESAMPLES)]
    plain = [
        Growth(pilot=pilot, duplicates_there=duplicates_in_share(one, 1.0), exponent=exponent_at(one, 1.0))
        for one in drawn
    ]
    plain.sort(key=lambda one: one.duplicates(MAX_GROWTH * pilot))
    return law, Growth(pilot=pilot, duplicates_there=found), plain[int(0.975 * RESAMPLES)]
