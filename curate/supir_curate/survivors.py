"""The pictures that passed the rules, ranked from best to worst, and which of them show the same.

Place in the flow: `select` collects them over all parts and asks for the duplicates. The law: the best picture of a
kind stays: most effective pixels a side, then most pixels, then the smaller key; part and row decide between files
of the same bytes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.dedup import twins
from supir_curate.verdict import Reason, Verdict
from supir_shards import part_name

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("part", "row", "key_high", "key_low", "phash", "side", "area")


class Survivors:
    """What the duplicate search needs about every picture that passed the rules: 52 bytes each."""

    def __init__(self) -> None:
        self._columns: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}

    def add(self, part_number: int, ledger: pa.Table) -> None:
        """Adds rows of a part's ledger, all of which passed the rules."""
        key = np.array([bytes.fromhex(text) for text in ledger.column("key").to_pylist()], dtype="V16")
        halves = key.view(">u8").reshape(-1, 2).astype(np.uint64)
        side = numbers(ledger, "score.effective_ratio") * numbers(ledger, "score.short_side_px")
        values = {
            "part": np.full(ledger.num_rows, part_number, dtype=np.int32),
            "row": ledger.column("source_row").to_numpy(),
            "key_high": halves[:, 0],
            "key_low": halves[:, 1],
            "phash": ledger.column("phash").to_numpy(),
            "side": np.nan_to_num(side),
            "area": numbers(ledger, "width") * numbers(ledger, "height"),
        }
        for name in COLUMNS:
            self._columns[name].append(values[name])

    def duplicates(self, max_hash_distance: int | None) -> dict[int, dict[int, Verdict]]:
        """Returns the verdicts on all that duplicate a better picture: part number to source row to verdict.

        Args:
            max_hash_distance: bits in which near duplicates may differ; None looks for equal bytes alone.
        """
        column = {name: np.concatenate(self._columns[name]) for name in COLUMNS}
        # The last key sorts first.
        rank = ("row", "part", "key_low", "key_high")
        order = np.lexsort([*(column[name] for name in rank), -column["area"], -column["side"]])
        column = {name: values[order] for name, values in column.items()}
        same = (column["key_high"][1:] == column["key_high"][:-1]) & (
            column["key_low"][1:] == column["key_low"][:-1]
        )
        is_copy = np.concatenate([np.zeros(min(1, len(order)), dtype=bool), same])
        verdicts: dict[int, dict[int, Verdict]] = {}
        originals = np.flatnonzero(~is_copy)
        first = np.maximum.accumulate(np.where(is_copy, -1, np.arange(len(order))))
        for copy in np.flatnonzero(is_copy):
            place = f"{part_name(int(column['part'][first[copy]]))} row {column['row'][first[copy]]}"
            _note(verdicts, column, int(copy), Verdict(False, Reason.EXACT_DUPLICATE, place))
        if max_hash_distance is not None:
            twin = twins(column["phash"][originals], max_hash_distance)
            for number in np.flatnonzero(twin >= 0):
                better = originals[twin[number]]
                key = f"{int(column['key_high'][better]):016x}{int(column['key_low'][better]):016x}"
                _note(verdicts, column, int(originals[number]), Verdict(False, Reason.NEAR_DUPLICATE, key))
        return verdicts


def numbers(ledger: pa.Table, name: str) -> NDArray[np.float64]:
    """Returns a ledger column as float64, NaN where it is null."""
    return np.asarray(ledger.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


def _note(
    verdicts: dict[int, dict[int, Verdict]], column: dict[str, NDArray[Any]], at: int, verdict: Verdict
) -> None:
    verdicts.setdefault(int(column["part"][at]), {})[int(column["row"][at])] = verdict
