"""A source cut into numbered parts: what there is to look at, fixed once and for all.

Place in the flow: the first step of a run. The law: the list of candidates is written down before any of them is
looked at, `plan.json` last; a resumed run reads it and never lists the source again, so files that come or go
meanwhile do not shift the parts. A dataset belongs to one source and one scoring config.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from supir_console import UserError
from supir_curate.config import CurateConfig, ScoringConfig, SourceConfig
from supir_curate.differences import differences
from supir_curate.folder import escaped
from supir_shards import Store, absolute_url, part_name

if TYPE_CHECKING:
    import pyarrow as pa

PLAN = "plan.json"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
URL_COLUMNS = ("url", "URL")
TEXT_COLUMNS = ("caption", "TEXT", "text")
LICENCE_COLUMNS = ("licence", "license", "LICENCE", "LICENSE")
READ_ROWS = 64 * 1024

State = TypeVar("State", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture to look at.

    Args:
        url: URL, or path below the source folder as `folder.escaped` writes it.
        text: alt text that came with it, "" without.
        licence: licence that came with it, "" without.
    """

    url: str
    text: str = ""
    licence: str = ""


class Plan(BaseModel):
    """The content of `plan.json`.

    `source` is an absolute path or URL; `scoring` is the config that the ledger is made under; `spool` is the dataset
    that holds fetched bytes, "" for this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder", "urls"]
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
        source: folder of images, or Parquet file or folder of Parquet files with URLs; local or fsspec URL.
        config: its source section cuts the parts.

    Raises:
        UserError: nothing to look at, a column is missing, or the dataset belongs to another source or config.
    """
    place = absolute_url(source)
    if store.exists(PLAN):
        plan = load_plan(store)
        _require_same(plan, place, config.scoring(), store.url)
        return plan
    kind, candidates = list_candidates(place, config.source)
    sizes = [
        _write_part(store, number, rows) for number, rows in _chunks(candidates, config.source.part_size)
    ]
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
    return UserError(f"{place} holds no candidates; give a folder with {suffixes} files or a Parquet of URLs")


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
    return [Candidate(**row) for row in store.read_table(candidates_path(part)).to_pylist()]


def list_candidates(
    place: str, config: SourceConfig
) -> tuple[Literal["folder", "urls"], Iterator[Candidate]]:
    """Returns the kind of a source and its candidates, in an order that depends on the source alone.

    Raises:
        UserError: the source does not exist, or mixes pictures and Parquet files.
    """
    if "://" not in place and not Path(place).exists():
        raise UserError(
            f"{place} does not exist; give a folder of images, or a Parquet file or folder with URLs"
        )
    if place.endswith(".parquet"):
        folder, _, name = place.rpartition("/")
        return "urls", _read_urls(Store(folder), [name], config)
    store = Store(place)
    files = store.list()
    tables = [path for path in files if path.endswith(".parquet")]
    images = [path for path in files if path.lower().endswith(IMAGE_SUFFIXES)]
    if tables and images:
        raise UserError(
            f"{place} holds {len(images)} images and {len(tables)} Parquet files; give one kind alone"
        )
    if tables:
        return "urls", _read_urls(store, tables, config)
    return "folder", (Candidate(url=escaped(path), licence=config.licence) for path in images)


def _chunks(candidates: Iterator[Candidate], size: int) -> Iterator[tuple[int, list[Candidate]]]:
    number = 0
    while rows := list(islice(candidates, size)):
        yield number, rows
        number += 1


def _write_part(store: Store, number: int, rows: list[Candidate]) -> int:
    import pyarrow as pa

    columns = {
        name: pa.array([getattr(row, name) for row in rows], pa.string())
        for name in ("url", "text", "licence")
    }
    store.write_table(candidates_path(part_name(number)), pa.table(columns))
    return len(rows)


def _read_urls(store: Store, paths: Iterable[str], config: SourceConfig) -> Iterator[Candidate]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        name = f"{store.url}/{path}"
        with store.open(path) as stream:
            try:
                table = pq.ParquetFile(stream)
            except pa.ArrowException as error:
                raise UserError(f"{name} is not a readable Parquet file") from error
            columns = _columns(table.schema_arrow.names, config, name)
            for batch in table.iter_batches(batch_size=READ_ROWS, columns=list(filter(None, columns))):
                yield from _batch_candidates(batch, columns, config.licence)


def _columns(names: list[str], config: SourceConfig, place: str) -> tuple[str, str, str]:
    """Returns the URL, text and licence columns, "" for an optional one that is not there."""
    wanted = (
        ("url_column", config.url_column, URL_COLUMNS),
        ("text_column", config.text_column, TEXT_COLUMNS),
        ("licence_column", config.licence_column, LICENCE_COLUMNS),
    )
    found = []
    for key, given, usual in wanted:
        column = given if given else next((name for name in usual if name in names), "")
        if (given and given not in names) or (key == "url_column" and not column):
            looked_for = given or " or ".join(usual)
            raise UserError(
                f"{place} has no column {looked_for}; its columns are {', '.join(names)};"
                f" name one with --set source.{key}=NAME"
            )
        found.append(column)
    return found[0], found[1], found[2]


def _batch_candidates(
    batch: pa.RecordBatch, columns: tuple[str, str, str], licence: str
) -> Iterator[Candidate]:
    import pyarrow as pa

    def texts(column: str) -> list[str]:
        if not column:
            return [""] * batch.num_rows
        values = batch.column(column)
        # Nothing checks a file's text to be UTF-8, and one odd row must not end the list.
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = values.cast(pa.large_binary())
        return [_text(value) for value in values.to_pylist()]

    for url, text, own in zip(*map(texts, columns), strict=True):
        yield Candidate(url=url, text=text, licence=own or licence)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def _require_same(plan: Plan, place: str, scoring: ScoringConfig, dataset: str) -> None:
    if plan.source != place:
        raise UserError(
            f"{dataset} was begun from {plan.source}, not {place}; give another -o for another source"
        )
    changed = differences(scoring, plan.scoring)
    if changed:
        raise UserError(f"{dataset} was scored with {', '.join(changed)}; use the same, or give another -o")
