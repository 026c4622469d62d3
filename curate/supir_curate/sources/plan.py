"""One source or several, cut into numbered parts: what there is to look at, fixed once and for all.

Place in the flow: the first step of a run. The law: the list of candidates is written down before any of them is
looked at, `plan.json` last; a resumed run reads it and never lists the source again, so files that come or go
meanwhile do not shift the parts. A dataset belongs to its sources and one scoring config.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supir_console import Progress, UserError
from supir_curate.config import CurateConfig, ScoringConfig, SourceConfig
from supir_curate.config.differences import differences
from supir_curate.scores import PREFIX, SCORE_NAMES
from supir_curate.sources.candidate import Candidate, Kind, candidates_from
from supir_curate.sources.cutting import ListingTally, in_parts, nothing_to_read, together
from supir_curate.sources.left_out import Counts, summed
from supir_curate.sources.listing import Spread, here, list_source
from supir_curate.sources.look_ahead import in_order
from supir_shards import Store, absolute_url, part_name, part_of
from supir_shards.layout import PART, SCORES, part_files, part_number, scores_path
from supir_shards.storage import table_bytes

if TYPE_CHECKING:
    import pyarrow as pa

PLAN, CANDIDATES = "plan.json", "candidates"
WRITTEN_ROWS = 64 * 1024  # of parts that wait for the disk together
SOURCE_SCORES = "source"  # the sidecar of what the source itself says

State = TypeVar("State", bound=BaseModel)


class Piece(BaseModel):
    """One source among several: the candidates of `num_parts` parts in a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    source: str
    num_candidates: int
    num_parts: int


class Plan(BaseModel):
    """The content of `plan.json`.

    `source` is an absolute path or URL; `scoring` is the config that the ledger is made under; `spool` is the dataset
    that holds fetched bytes, "" for this one; `added` are the candidates of each later addition, whose parts come last,
    and `moved` those among them that stood in an earlier part before. Of several sources the kind is "several",
    `source` names all of them, and `pieces` are they in the order in which they were given. `part_rows` says how many
    candidates each part was made with where parts are not cut to one size: of several sources and of a dataset.
    `left_out` counts what the sources hold besides, by heading and label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind | Literal["several"]
    source: str
    scoring: ScoringConfig
    num_candidates: int
    num_parts: int
    spool: str = ""
    added: tuple[int, ...] = ()
    moved: int = 0
    pieces: tuple[Piece, ...] = ()
    part_rows: tuple[int, ...] = ()
    left_out: Counts = Field(default_factory=dict)

    def all_pieces(self) -> tuple[Piece, ...]:
        """Returns the sources, one or several."""
        if self.kind != "several":
            one = {"num_candidates": self.num_candidates, "num_parts": self.num_parts}
            return (Piece(kind=self.kind, source=self.source, **one),)
        return self.pieces

    def piece_of(self, part: str) -> Piece:
        """Returns the source that a part's candidates are of; parts of several that were added are of the URLs."""
        pieces = self.all_pieces()
        place = bisect_right(list(accumulate(piece.num_parts for piece in pieces)), part_number(part))
        if place < len(pieces):
            return pieces[place]
        return next((piece for piece in pieces if piece.kind == "urls"), pieces[-1])

    def has(self, kind: Kind) -> bool:
        """Returns whether one of the sources is of a kind."""
        return any(piece.kind == kind for piece in self.all_pieces())

    def parts(self) -> list[str]:
        """Returns the names of all parts, in order."""
        return [part_name(number) for number in range(self.num_parts)]

    def sizes(self) -> dict[str, int]:
        """Returns how many candidates each part was made with; of the list and of each addition the last is short."""
        size, sizes = self.scoring.source.part_size, list(self.part_rows)
        first = [] if sizes else [self.num_candidates + self.moved - sum(self.added)]
        for count in (*first, *self.added):
            sizes += [min(size, count - begin) for begin in range(0, count, size)]
        return dict(zip(self.parts(), sizes, strict=True))


def make_plan(
    store: Store, sources: str | Sequence[str], config: CurateConfig, spread: Spread = here
) -> Plan:
    """Returns the dataset's plan, written first if the dataset has none.

    Args:
        store: the dataset.
        sources: one or several, see `sources.list_source`; local or fsspec URLs.
        config: its source section cuts the parts.
        spread: lists many files; the plan does not depend on it.

    Raises:
        UserError: nothing to look at, or nothing that can be read; the dataset belongs to another source or config, or
            would lie inside its source.
    """
    places = places_of(sources)
    if store.exists(PLAN):
        plan = load_plan(store)
        _require_same(plan, " ".join(places), config.scoring(), store.url)
        return plan
    _require_new_scores(config.source)
    for place in places:
        _require_outside(store.url, place)
    clear_lists(store, 0)
    pieces: list[Piece] = []
    part_rows: list[int] = []
    left_out: list[Counts] = []
    with Progress(None, "list", "candidates") as progress:
        for place in places:
            first = sum(piece.num_parts for piece in pieces)
            piece, rows, counts = _list_piece(store, place, first, config, spread, progress)
            pieces.append(piece)
            part_rows += rows
            left_out.append(counts)
    is_even = len(pieces) == 1 and pieces[0].kind != "dataset"
    plan = Plan(
        kind=pieces[0].kind if len(pieces) == 1 else "several",
        source=" ".join(places),
        scoring=config.scoring(),
        num_candidates=sum(piece.num_candidates for piece in pieces),
        num_parts=sum(piece.num_parts for piece in pieces),
        pieces=tuple(pieces) if len(pieces) > 1 else (),
        part_rows=() if is_even else tuple(part_rows),
        left_out=summed(left_out),
    )
    save_plan(store, plan)
    return plan


def places_of(sources: str | Sequence[str]) -> list[str]:
    """Returns the absolute paths or URLs of sources.

    Raises:
        UserError: one is named twice.
    """
    places = [absolute_url(one) for one in ([sources] if isinstance(sources, str) else sources)]
    twice = [place for place, count in Counter(places).items() if count > 1]
    if twice:
        raise UserError(f"SOURCE {twice[0]} is named twice; name it once")
    return places


def _list_piece(
    store: Store, place: str, first: int, config: CurateConfig, spread: Spread, progress: Progress
) -> tuple[Piece, list[int], Counts]:
    """Writes the candidates of one source down, as parts from a number on.

    Returns: it, the parts' sizes, and the counts of what it leaves out.
    """
    kind, tables = list_source(place, config.source, spread)
    tally = ListingTally()
    listed = tally.counted(tables)
    # A dataset's parts stay what they are, so that what stands beside them, captions, still fits.
    parts = listed if kind == "dataset" else in_parts(listed, config.source.part_size)
    some = together(parts, max(1, WRITTEN_ROWS // config.source.part_size), first)
    sizes: list[int] = []
    for written in in_order(partial(_write_parts, store), some, 2):
        sizes += [part.num_rows for part in written.values()]
        progress.advance(sum(part.num_rows for part in written.values()))
    if tally.unread == tally.seen:
        clear_lists(store, 0)
        raise nothing_to_read(place, tally)
    piece = Piece(kind=kind, source=place, num_candidates=tally.seen, num_parts=len(sizes))
    return piece, sizes, tally.left_out


def read_state(store: Store, path: str, model: type[State], mend: str) -> State:
    """Returns a small JSON file of the dataset, read into its model.

    Args:
        store: the dataset.
        path: of the file; it is there.
        model: what it holds.
        mend: what to do when it is damaged, for the message.

    Raises:
        UserError: it is damaged.
    """
    try:
        return model.model_validate_json(store.read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{store.url}/{path} is damaged ({where}: {first['msg']}); {mend}") from error


def load_plan(store: Store) -> Plan:
    """Returns the dataset's plan.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not store.exists(PLAN):
        raise UserError(f"{store.url} has no {PLAN}; start with: supir-curate score SOURCE -o {store.url}")
    return read_state(store, PLAN, Plan, "restore it from a copy, or start a new dataset")


def save_plan(store: Store, plan: Plan) -> None:
    """Writes `plan.json`, the mark that the candidate lists are complete."""
    store.write(PLAN, plan.model_dump_json(indent=1).encode() + b"\n")


def candidates_path(part: str) -> str:
    """Returns where a part's candidates are listed."""
    return f"{CANDIDATES}/{part}.parquet"


def read_candidates(store: Store, part: str) -> list[Candidate]:
    """Returns a part's candidates; their place in the list is their source row."""
    return candidates_from(store.read_table(candidates_path(part)))


def _write_parts(store: Store, parts: dict[int, pa.Table]) -> dict[int, pa.Table]:
    files: dict[str, bytes] = {}
    for number, rows in parts.items():
        files |= files_of(part_name(number), rows)
    store.write_many(files)
    return parts


def files_of(part: str, rows: pa.Table) -> dict[str, bytes]:
    """Returns the files that list a part's candidates, by path: their table, and what the source scores of them."""
    import pyarrow as pa

    scores = [name for name in rows.column_names if name.startswith(PREFIX)]
    files = {candidates_path(part): table_bytes(rows.drop_columns(scores))}
    if scores:
        places = pa.array(range(rows.num_rows), pa.int64())
        sidecar = rows.select(scores).add_column(0, "source_row", places)
        files[scores_path(SOURCE_SCORES, part)] = table_bytes(sidecar)
    return files


def _require_new_scores(config: SourceConfig) -> None:
    taken = sorted(set(config.score_columns) & set(SCORE_NAMES))
    if taken:
        raise UserError(f"source.score_columns: {taken[0]} is a score of ours; rename the column")


def clear_lists(store: Store, num_parts: int) -> None:
    """Deletes what a killed listing, perhaps of another config, left behind the parts that there are."""
    for path in _parts_there(store):
        if part_of(path) >= part_name(num_parts):
            store.delete(path)


def _parts_there(store: Store) -> list[str]:
    """Returns every file that a plan writes beside itself, and no file of anybody else's in the same folders."""
    is_list = re.compile(rf"{CANDIDATES}/{PART}\.parquet").fullmatch
    return [*filter(is_list, store.list(CANDIDATES)), *part_files(store.list(f"{SCORES}/{SOURCE_SCORES}"))]


def _require_outside(dataset: str, place: str) -> None:
    here, there = (url if "://" in url else str(Path(url).resolve()) for url in (dataset, place))
    if f"{here}/".startswith(f"{there.rstrip('/')}/"):
        raise UserError(
            f"-o {dataset} lies inside the source {place}, which would then hold our files; name one outside"
        )


def _require_same(plan: Plan, place: str, scoring: ScoringConfig, dataset: str) -> None:
    if plan.source != place:
        raise UserError(
            f"{dataset} was begun from {plan.source}, not {place}; give another -o for another source"
        )
    changed = differences(scoring, plan.scoring)
    if changed:
        raise UserError(f"{dataset} was scored with {', '.join(changed)}; use the same, or give another -o")
