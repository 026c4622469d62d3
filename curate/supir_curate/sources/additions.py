"""What a source holds now beside what its dataset was made from, and new parts for what came since.

Place in the flow: a rerun of `run` or `score` compares here; `--extend` and `--retry-failed` append. The law: parts
that there are stay as they are, byte for byte; what is new becomes parts behind them, `plan.json` last. A candidate is
known by its URL or path, in a tar or a table of pictures by its file and its name or row there; one that is listed more
often than before is new that often.
What changed or went is counted and left alone: the dataset holds what was scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_console import Progress, UserError
from supir_curate.scores import PREFIX
from supir_curate.sources.cutting import ListingTally, in_parts
from supir_curate.sources.listing import Spread, list_source, source_folder
from supir_curate.sources.plan import Plan, candidates_path, clear_lists, files_of, save_plan
from supir_shards import DatasetError, Store, ledger_path, part_name, part_of

if TYPE_CHECKING:
    import pyarrow as pa

MOVED_URL = "moved:"
"""Stands in a part's list where a candidate stood that a later part has: no URL that can be fetched."""
MOVED, SPOOL = "moved", "spool"
KNOWN_BY = {"folder": ("path",), "urls": ("url",), "tars": ("file", "url"), "images": ("file", "offset")}

Hashes = NDArray[np.uint64]


class Comparison:
    """The candidates of a dataset, each taken off as its source still lists it.

    Args:
        store: the dataset.
        plan: its plan.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store, self._plan = store, plan
        lists = (store.read_table(candidates_path(part)) for part in plan.parts())
        hashes = [self._hashes(table) for table in lists]
        names, states = (np.concatenate(arrays) for arrays in zip(*hashes, strict=True))
        self._names, place, self._left = np.unique(names, return_inverse=True, return_counts=True)
        self._states = np.zeros(len(self._names), dtype=np.uint64)
        np.add.at(self._states, place, states)  # modulo 2 to the 64th: 0 once all were taken off unchanged
        self.new = 0
        self.gone = self.changed = 0

    def new_rows(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yields the rows of a listing that the dataset does not have; afterwards the counts are right."""
        for table in tables:
            names, states = self._hashes(table)
            place = np.minimum(np.searchsorted(self._names, names), len(self._names) - 1)
            is_known = self._names[place] == names
            is_known &= _occurrence(names) < self._left[place]
            np.subtract.at(self._left, place[is_known], 1)
            np.subtract.at(self._states, place[is_known], states[is_known])
            if not is_known.all():
                yield table.filter(~is_known)
            self.new += int((~is_known).sum())
        self.gone = int(self._left.sum())
        self.changed = int(((self._left == 0) & (self._states != 0)).sum()) + self._resized()

    def counts(self) -> dict[str, int]:
        """Returns new, gone and changed candidates."""
        return {"new": self.new, "gone": self.gone, "changed": self.changed}

    def _hashes(self, table: pa.Table) -> tuple[Hashes, Hashes]:
        """Returns a number for what each candidate goes by, and one for what is told of it."""
        columns = [name for name in table.column_names if not name.startswith(PREFIX)]
        told = table.select(columns).filter(_is_listed(table))
        known = told.append_column("path", _paths(told))
        by_name = zip(*(known.column(name).to_pylist() for name in KNOWN_BY[self._plan.kind]), strict=True)
        by_all: Iterable[tuple[Any, ...]] = zip(
            *(told.column(name).to_pylist() for name in columns), strict=True
        )
        if "role" in columns:  # the last one; lists that were written before every list had it lack it
            by_all = (row if row[-1] else row[:-1] for row in by_all)
        return _numbers(by_name), _numbers(by_all)

    def _resized(self) -> int:
        """Returns how many files of a local folder have another size than was scored; its list has no sizes."""
        if self._plan.kind != "folder" or "://" in self._plan.source:
            return 0
        folder, count = source_folder(self._plan.source), 0
        for part in filter(self._is_scored, self._plan.parts()):
            paths = _paths(self._store.read_table(candidates_path(part), ["url", "file"])).to_pylist()
            for row in self._store.read_table(ledger_path(part), ["source_row", "bytes"]).to_pylist():
                size = None if row["bytes"] is None else _size(folder, paths[row["source_row"]])
                count += size not in (None, row["bytes"])
        return count

    def _is_scored(self, part: str) -> bool:
        return self._store.exists(ledger_path(part))


def compare(store: Store, plan: Plan, spread: Spread) -> dict[str, int]:
    """Returns how many candidates of the source are new, gone and changed; the source is listed for it.

    Raises:
        UserError: it is several sources, or a dataset; it is gone, or holds another kind of thing now.
    """
    _require_comparable(plan)
    comparison = Comparison(store, plan)
    for _ in comparison.new_rows(_listed(plan, spread, ListingTally())):
        pass
    return comparison.counts()


def extend(store: Store, plan: Plan, spread: Spread) -> tuple[Plan, dict[str, int]]:
    """Takes in what the source holds beyond the plan; returns the plan with its new parts, and the counts.

    Raises:
        UserError: as `compare`.
    """
    _require_comparable(plan)
    comparison, tally = Comparison(store, plan), ListingTally()
    plan = append_parts(store, plan, comparison.new_rows(_listed(plan, spread, tally)))
    if tally.left_out != plan.left_out:
        plan = plan.model_copy(update={"left_out": tally.left_out})
        save_plan(store, plan)
    return plan, comparison.counts()


def append_parts(
    store: Store,
    plan: Plan,
    tables: Iterable[pa.Table],
    write_beside: Callable[[str, int, int], None] | None = None,
) -> Plan:
    """Writes candidates as parts behind those that there are; returns the plan that has them.

    Args:
        store: the dataset.
        plan: its plan.
        tables: listings.
        write_beside: for candidates that stand in an earlier part, and leave it: writes what else there is of a part,
            given its name, and the place of its first candidate in the listings and their number.
    """
    clear_lists(store, plan.num_parts)
    for path in [*store.list(MOVED), *(store.list(SPOOL) if write_beside else [])]:
        if part_of(path) >= part_name(plan.num_parts):
            store.delete(path)
    number, count = plan.num_parts, 0
    with Progress(None, "list", "candidates") as progress:
        for rows in in_parts(tables, plan.scoring.source.part_size):
            if write_beside:
                write_beside(part_name(number), count, rows.num_rows)
            store.write_many(files_of(part_name(number), rows))
            number, count = number + 1, count + rows.num_rows
            progress.advance(rows.num_rows)
    if not count:
        return plan
    moved = count if write_beside else 0
    grown = plan.model_copy(
        update={
            "num_candidates": plan.num_candidates + count - moved,
            "num_parts": number,
            "added": (*plan.added, count),
            "moved": plan.moved + moved,
        }
    )
    save_plan(store, grown)
    return grown


def _require_comparable(plan: Plan) -> None:
    if plan.kind in ("several", "dataset"):
        raise UserError(
            "what came since is taken in from one source of pictures or URLs; of several sources, or of a dataset, make"
            " a new dataset: supir-curate run SOURCE… -o NEW (what is scored is not scored again)"
        )


def _listed(plan: Plan, spread: Spread, tally: ListingTally) -> Iterator[pa.Table]:
    kind, tables = list_source(plan.source, plan.scoring.source, spread)
    if kind != plan.kind:
        raise UserError(
            f"{plan.source} holds {kind} now, the dataset was made of {plan.kind}; give another -o"
        )
    return tally.counted(tables)


def _paths(table: pa.Table) -> Any:
    """Returns the paths of a folder's pictures: where a sidecar tells a URL, `file` has it."""
    import pyarrow.compute as pc

    file = table.column("file")
    return pc.if_else(pc.equal(file, ""), table.column("url"), file)


def _is_listed(table: pa.Table) -> Any:
    import pyarrow.compute as pc

    return pc.not_equal(table.column("url"), MOVED_URL)


def _numbers(rows: Iterable[tuple[Any, ...]]) -> Hashes:
    digests = (hashlib.blake2b(repr(row).encode("utf-8", "replace"), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _occurrence(values: Hashes) -> NDArray[np.int64]:
    """Returns for each value how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(values)]
    begin = np.maximum.accumulate(np.where(is_first, np.arange(len(values)), 0))
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(len(values)) - begin
    return found


def _size(folder: Any, path: str) -> int | None:
    try:
        return int(folder.size(path))
    except (OSError, DatasetError):
        return None  # gone, and counted as such
