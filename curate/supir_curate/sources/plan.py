"""A source cut into numbered parts: what there is to look at, fixed once and for all.

Place in the flow: the first step of a run. The law: the list of candidates is written down before any of them is
looked at, `plan.json` last; a resumed run reads it and never lists the source again, so files that come or go
meanwhile do not shift the parts. A dataset belongs to one source and one scoring config.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from supir_console import UserError
from supir_curate.config import CurateConfig, ScoringConfig, SourceConfig
from supir_curate.config.differences import differences
from supir_curate.scores import PREFIX, SCORE_NAMES, sidecar_path
from supir_curate.sources.candidate import Candidate, Kind, candidates_from, candidates_table
from supir_curate.sources.listing import IMAGE_SUFFIXES, list_source
from supir_curate.sources.look_ahead import in_order
from supir_shards import Store, absolute_url, part_name

PLAN = "plan.json"
PARTS_AT_ONCE = 8  # written at the same time: each waits for the disk to have it
SOURCE_SCORES = "source"  # the sidecar of what the source itself says

State = TypeVar("State", bound=BaseModel)


class Plan(BaseModel):
    """The content of `plan.json`.

    `source` is an absolute path or URL; `scoring` is the config that the ledger is made under; `spool` is the dataset
    that holds fetched bytes, "" for this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    source: str
    scoring: ScoringConfig
    num_candidates: int
    num_parts: int
    spool: str = ""

    def parts(self) -> list[str]:
        """Returns the names of all parts, in order."""
        return [part_name(number) for number in range(self.num_parts)]


def make_plan(store: Store, source: str, config: CurateConfig) -> Plan:
    """Returns the dataset's plan, written first if the dataset has none.

    Args:
        store: the dataset.
        source: see `sources.list_source`; local or fsspec URL.
        config: its source section cuts the parts.

    Raises:
        UserError: nothing to look at, a column is missing, or the dataset belongs to another source or config.
    """
    place = absolute_url(source)
    if store.exists(PLAN):
        plan = load_plan(store)
        _require_same(plan, place, config.scoring(), store.url)
        return plan
    _require_new_scores(config.source)
    kind, candidates = list_source(place, config.source)
    chunks = _chunks(candidates, config.source.part_size)
    scores = config.source.score_columns
    sizes = list(in_order(lambda chunk: _write_part(store, *chunk, scores), chunks, PARTS_AT_ONCE))
    if not sizes:
        raise no_candidates(place)
    plan = Plan(
        kind=kind,
        source=place,
        scoring=config.scoring(),
        num_candidates=sum(sizes),
        num_parts=len(sizes),
    )
    save_plan(store, plan)
    return plan


def no_candidates(place: str) -> UserError:
    """Returns the error of a source that holds nothing to look at."""
    suffixes = ", ".join(IMAGE_SUFFIXES)
    return UserError(
        f"{place} holds no candidates; give a folder with {suffixes} files, WebDataset tars, or Parquet files"
    )


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
    return f"candidates/{part}.parquet"


def read_candidates(store: Store, part: str) -> list[Candidate]:
    """Returns a part's candidates; their place in the list is their source row."""
    return candidates_from(store.read_table(candidates_path(part)))


def _chunks(candidates: Iterator[Candidate], size: int) -> Iterator[tuple[int, list[Candidate]]]:
    number = 0
    while rows := list(islice(candidates, size)):
        yield number, rows
        number += 1


def _write_part(store: Store, number: int, rows: list[Candidate], scores: tuple[str, ...]) -> int:
    import pyarrow as pa

    part = part_name(number)
    if scores:
        columns = {"source_row": pa.array(range(len(rows)), pa.int64())}
        values = zip(*(row.scores or (math.nan,) * len(scores) for row in rows), strict=True)
        columns |= {f"{PREFIX}{name}": pa.array(column) for name, column in zip(scores, values, strict=True)}
        store.write_table(sidecar_path(SOURCE_SCORES, part), pa.table(columns))
    store.write_table(candidates_path(part), candidates_table(rows))
    return len(rows)


def _require_new_scores(config: SourceConfig) -> None:
    taken = sorted(set(config.score_columns) & set(SCORE_NAMES))
    if taken:
        raise UserError(f"source.score_columns: {taken[0]} is a score of ours; rename the column")


def _require_same(plan: Plan, place: str, scoring: ScoringConfig, dataset: str) -> None:
    if plan.source != place:
        raise UserError(
            f"{dataset} was begun from {plan.source}, not {place}; give another -o for another source"
        )
    changed = differences(scoring, plan.scoring)
    if changed:
        raise UserError(f"{dataset} was scored with {', '.join(changed)}; use the same, or give another -o")
