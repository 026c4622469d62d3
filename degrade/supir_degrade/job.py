"""What a resumable job leaves beside its shards: the mark of its plan, and one ledger row for each source.

Place in the flow: `pairs` and `negatives` write datasets part by part; a part with an index is done. The law:
an output folder belongs to one plan (config and chosen sources), so a rerun can only continue the same work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from supir_console import Config, UserError, config_hash
from supir_degrade.sources import Source
from supir_shards import Store, ledger_path, ledger_schema

JOB = "job.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source; `reason` is "" when it gave a sample, else "unreadable"."""

    source: Source
    reason: str = ""
    detail: str = ""


def claim(store: Store, command: str, config: Config, sources: Sequence[Source]) -> None:
    """Marks the folder as the output of this plan, or finds that it already is.

    Args:
        store: the output.
        command: as the user types it.
        config: everything that changes the result.
        sources: the chosen photos.

    Raises:
        UserError: the folder holds another plan's work.
    """
    chosen = hashlib.sha256(json.dumps([asdict(source) for source in sources]).encode()).hexdigest()[:16]
    plan = {"command": command, "config_hash": config_hash(config), "sources_hash": chosen}
    if not store.exists(JOB):
        if store.list():
            raise UserError(f"{store.url} already holds other files; give an empty folder (-o)")
        store.write(JOB, json.dumps(plan, sort_keys=True).encode() + b"\n")
    elif json.loads(store.read(JOB)) != plan:
        raise UserError(
            f"{store.url} holds the work of another config or of other photos; "
            "run it with the options it was begun with, or give another folder (-o)"
        )


def write_outcomes(store: Store, part: str, outcomes: Sequence[Outcome]) -> None:
    """Writes the part's ledger: one row a source, `status` ok or failed."""
    import pyarrow as pa

    rows = [
        {
            "key": outcome.source.key,
            "part": part,
            "source_row": outcome.source.row,
            "status": "failed" if outcome.reason else "ok",
            "reason": outcome.reason,
            "detail": outcome.detail,
        }
        for outcome in outcomes
    ]
    store.write_table(ledger_path(part), pa.Table.from_pylist(rows, schema=ledger_schema(())))


def count_failed(store: Store, parts: Sequence[str]) -> int:
    """Returns how many sources of these parts the ledgers record as failed."""
    statuses = (store.read_table(ledger_path(part)).column("status").to_pylist() for part in parts)
    return sum(status.count("failed") for status in statuses)
