"""Claim: the duplicates of a source are foretold from a part of it, at 2 to 30 times the part's size.

Peer: the plain power law D = A n^b that GPIC (arXiv 2605.30341) fits, here by least squares over five sizes inside the
part; and the part's share of duplicates taken as constant. Sources are made up: groups of power-law sizes, at most 300.
Prints foretold / true for each; 1 is right.
Run: python benchmarks/curate_forecast.py
"""

from __future__ import annotations

import numpy as np

from supir_curate.forecasting.growth import duplicates_in_share, foretold

NUM_GROUPS = 200_000
SHARES = 2.0 ** -np.arange(5)


def main() -> None:
    """Prints the table."""
    print("power  duplicates  part  ours  power law  constant share")
    for power in (1.8, 2.2, 2.5, 3.0, 4.0):
        rng = np.random.default_rng(7)
        sizes = np.minimum(rng.zipf(power, NUM_GROUPS), 300)
        source = rng.permutation(np.repeat(np.arange(NUM_GROUPS), sizes))
        truth = len(source) - NUM_GROUPS
        for smaller in (2, 10, 30):
            sample = source[: len(source) // smaller]
            _, counts = np.unique(sample, return_counts=True)
            groups = counts[counts > 1]
            ours, constant, _ = foretold(groups.tolist(), len(sample))
            inside = [duplicates_in_share(groups, float(share)) for share in SHARES]
            b, log_a = np.polyfit(np.log(SHARES * len(sample)), np.log(inside), 1)
            theirs = np.exp(log_a) * len(source) ** b
            print(
                f"{power:5.1f}{100 * truth / len(source):10.0f} %  1/{smaller:<3}"
                f"{ours.duplicates(len(source)) / truth:6.2f}{theirs / truth:11.2f}"
                f"{constant.duplicates(len(source)) / truth:16.2f}"
            )


if __name__ == "__main__":
    main()
