"""What a resumable job leaves beside its shards: the mark of its plan, a ledger row a source, a list of failures.

Place in the flow: `pairs` and `negatives` write datasets part by part; a part with an index is done. The law:
an output folder belongs to one plan (config and chosen sources), so a rerun can only continue the same work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from supir_console import Config, UserError, config_hash
from supir_degrade.sources import Source, by_part
from supir_shards import Store, is_committed, ledger_path, ledger_schema

JOB = "job.json"
FAILURES = "report/failures.jsonl"
DROPPED = "report/dropped.jsonl"
UNREADABLE = "unreadable"
CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source.

    `reason` is "" when it gave a sample; "unreadable", a failure; or "clean", dropped as a filter asks. `scores`
    are those of the sample, by the name of the ledger's column.
    """

    source: Source
    reason: str = ""
    detail: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The sources of every part, those parts that are still to be made, and the mark of the whole."""

    parts: dict[str, list[Source]]
    todo: tuple[str, ...]
    mark: dict[str, str]

    @property
    def num_todo(self) -> int:
        """Samples still to be made."""
        return sum(len(self.parts[part]) for part in self.todo)


def plan_job(stores: Sequence[Store], command: str, config: Config, sources: Sequence[Source]) -> Plan:
    """Returns what is to be made, after a look at what is there; nothing is written.

    Args:
        stores: the outputs; a part is done when the last of them has it.
        command: as the user types it.
        config: everything that changes the result.
        sources: the chosen photos.

    Raises:
        UserError: an output holds another plan's work, or its mark is damaged.
    """
    chosen = hashlib.sha256(json.dumps([asdict(source) for source in sources]).encode()).hexdigest()[:16]
    mark = {"command": command, "config_hash": config_hash(config), "sources_hash": chosen}
    for store in stores:
        _is_claimed(store, mark)
    parts = by_part(sources)
    return Plan(parts, tuple(part for part in parts if not is_committed(stores[-1], part)), mark)


def claim(store: Store, mark: Mapping[str, str]) -> None:
    """Marks the folder as the output of this plan, or finds that it already is.

    Raises:
        UserError: the folder holds another plan's work, or its mark is damaged.
    """
    if not _is_claimed(store, mark):
        store.write(JOB, json.dumps(mark, sort_keys=True).encode() + b"\n")


def write_outcomes(
    store: Store, part: str, outcomes: Sequence[Outcome], score_names: Sequence[str] = ()
) -> None:
    """Writes the part's ledger: one row a source, `status` ok or failed, a column for each of `score_names`."""
    import pyarrow as pa

    from supir_shards.schema import SCORE_PREFIX

    rows = [
        {
            "key": outcome.source.key,
            "part": part,
            "source_row": outcome.source.row,
            "status": "failed" if outcome.reason == UNREADABLE else "ok",
            "reason": outcome.reason,
            "detail": outcome.detail,
            **{f"{SCORE_PREFIX}{name}": value for name, value in outcome.scores.items()},
        }
        for outcome in outcomes
    ]
    store.write_table(ledger_path(part), pa.Table.from_pylist(rows, schema=ledger_schema(score_names)))


def write_failures(store: Store, parts: Iterable[str], part_errors: Mapping[str, str]) -> int:
    """Lists every failure of the job in `FAILURES`, earlier runs' included; returns their number.

    Args:
        store: the output.
        parts: all parts of the plan.
        part_errors: those that no worker could finish, with the reason; a rerun tries them again.
    """
    failures: list[dict[str, str]] = []
    for part in parts:
        if part in part_errors:
            failures.append({"part": part, "sample": "", "reason": "part", "detail": part_errors[part]})
            continue
        failures += [
            {"part": part, "sample": row["key"], "reason": row["reason"], "detail": row["detail"]}
            for row in store.read_table(ledger_path(part)).to_pylist()
            if row["status"] == "failed"
        ]
    _write_report(store, FAILURES, failures)
    return len(failures)


def write_dropped(store: Store, parts: Iterable[str], score_names: Sequence[str]) -> int:
    """Lists every sample that a filter dropped in `DROPPED`, earlier runs' included; returns their number.

    Args:
        store: the output.
        parts: the parts that are finished.
        score_names: those given to `write_outcomes`; each line holds them.
    """
    from supir_shards.schema import SCORE_PREFIX

    dropped = [
        {"part": part, "sample": row["key"], "reason": row["reason"]}
        | {name: row[f"{SCORE_PREFIX}{name}"] for name in score_names}
        for part in parts
        for row in store.read_table(ledger_path(part)).to_pylist()
        if row["reason"] == CLEAN
    ]
    _write_report(store, DROPPED, dropped)
    return len(dropped)


def _write_report(store: Store, path: str, entries: Sequence[Mapping[str, object]]) -> None:
    """Writes one line of JSON an entry, or no file where there is none."""
    if entries:
        store.write(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())
    else:
        store.delete(path)


def _is_claimed(store: Store, mark: Mapping[str, str]) -> bool:
    """Whether the folder carries this mark; False only where it is empty, or holds no more than another's mark."""
    if not store.exists(JOB):
        if store.list():
            raise UserError(f"{store.url} already holds other files; give an empty folder (-o)")
        return False
    try:
        found = json.loads(store.read(JOB))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{store.url}/{JOB} is damaged ({type(error).__name__}: {error}), so nobody can say whose work this"
            " is; restore that file, or give another folder (-o)"
        ) from error
    if found != mark and store.list() == [JOB]:
        return False  # that run, of a mistyped model say, ended before it made anything: the name is free
    if found != mark:
        raise UserError(
            f"{store.url} holds the work of another config or of other photos; "
            "run it with the options it was begun with, or give another folder (-o)"
        )
    return True
