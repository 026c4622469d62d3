"""Claim: the network, the samplers and the whole chain give the numbers of an independent run, in float32 on a CPU.

Peer: a folder of stored numbers of another implementation (FIXTURES_DIR); weights follow from their official names.
Run: python benchmarks/parity.py FIXTURES_DIR

Prints one line a compared quantity. `over` is a quantity above the tolerance written down for it, but within 1e-4
of the largest stored number. Ends with 0, with 1 after a MISS, or with 2 where there is nothing to run.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import parity_image
import parity_network
import parity_sampler
import torch
from parity_agreement import Agreement, Fixture, cannot_run, no_problems

Case = Callable[[Fixture], Iterator[Agreement]]
CASES: dict[str, Case] = {
    "schedule*": parity_sampler.schedule,
    "sampler*": parity_sampler.sampler,
    "zerosft*": parity_network.connectors,
    "unet*": parity_network.unet,
    "vae*": parity_network.vae,
    "tiled*": parity_image.tiled,
    "colorfix*": parity_image.colourfix,
    "pipeline*": parity_image.pipeline,
    "official_keys*": parity_network.official_keys,
}
"""What runs a fixture, by its name without suffix, in any case."""


def found(folder: Path) -> dict[str, list[str]]:
    """The fixtures of a folder by the pattern that runs them; those that nothing runs under an empty pattern."""
    names = sorted({path.stem for path in folder.iterdir() if path.suffix in (".npz", ".json")})
    groups: dict[str, list[str]] = {
        pattern: [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern)] for pattern in CASES
    }
    known = {name for group in groups.values() for name in group}
    return {**groups, "": [name for name in names if name not in known]}


@torch.no_grad()
def run(folder: Path, pattern: str, name: str) -> tuple[list[Agreement], list[str]]:
    """The agreements of one fixture, and what was not compared, such as single arrays that nothing looked at.

    What the public functions cannot run is a row of its own, and a miss; so is a whole group that nothing reads.
    """
    rows: list[Agreement] = []
    try:
        fixture = Fixture(folder, name)
        rows.extend(CASES[pattern](fixture))  # keeps the rows before an error
    except Exception as error:
        return [*rows, cannot_run(name, error)], []
    if not rows and len(fixture.arrays):
        rows.append(no_problems(name, "a fixture without a number to compare", 1))
    unread = fixture.arrays.unread_groups()
    rows.extend(no_problems(f"{name} {group}", "a group that nothing compared", 1) for group in unread)
    return rows, [*fixture.notes, *(f"{name}.{key}" for key in fixture.arrays.unread())]


def main() -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compare with stored numbers of another implementation.")
    parser.add_argument("folder", type=Path, metavar="FIXTURES_DIR")
    folder = parser.parse_args().folder
    groups = found(folder) if folder.is_dir() else {}
    if not any(group for pattern, group in groups.items() if pattern):
        told = "holds no fixture" if folder.is_dir() else "is no folder"
        print(f"{folder} {told}; give a folder with files such as {', '.join(CASES)}", file=sys.stderr)
        return 2
    rows: list[Agreement] = []
    skipped = groups.pop("")
    for pattern, names in groups.items():
        for name in names:
            started = time.perf_counter()
            of_case, left = run(folder, pattern, name)
            rows += of_case
            show(of_case)
            print(
                f"    {name}: {len(of_case)} quantities in {time.perf_counter() - started:.1f} s", flush=True
            )
            if left:
                print(f"    not compared: {', '.join(left)}")
    if skipped:
        print(f"not run: {', '.join(skipped)}")
    rows += [
        no_problems(name, "a fixture that nothing runs", 1)
        for name in skipped
        if (folder / f"{name}.npz").is_file()
    ]
    if not rows:
        print(f"{folder} holds nothing that can be compared", file=sys.stderr)
        return 2
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("ok", "over", "MISS")}
    print(f"{len(rows)} quantities: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["MISS"] else 0


def show(rows: Iterable[Agreement]) -> None:
    """Prints the rows: worst absolute difference, that over the largest stored number, tolerance, limit, verdict."""
    for row in rows:
        share = f"{row.worst / row.largest:.1e}" if row.largest else "-"
        figures = f"{row.worst:>10.2e}{share:>10}{row.tolerance:>10.1e}{row.limit:>10.1e}"
        print(f"{row.case:<20} {row.quantity:<52}{figures}  {row.verdict}")


if __name__ == "__main__":
    sys.exit(main())
