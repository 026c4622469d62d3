"""The decision about every candidate, from the ledger alone: rules first, then duplicates among what passed.

Place in the flow: after `score`, before `pack`; repeated in seconds when a limit changes, no picture is read. The law:
`kept + dropped + failed == seen`; the result depends on the ledger and the select config alone. `selection.json` is
written last and names the config; a dataset that was packed keeps its selection.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from supir_console import UserError, config_hash
from supir_curate.config import SelectConfig
from supir_curate.plan import PLAN, Plan, candidates_path, load_plan, read_state, save_plan
from supir_curate.rules import PASSED, Rules, first_failed
from supir_curate.score import FAILED
from supir_curate.scores import SCORE_NAMES
from supir_curate.survivors import Survivors, numbers
from supir_curate.verdict import KEEP, Reason, Tally, Verdict
from supir_shards import Store, ledger_path

if TYPE_CHECKING:
    import pyarrow as pa

SELECTION = "selection.json"
PACKING = "packing.json"
KEPT, DROPPED = "kept", "dropped"


class Selection(BaseModel):
    """The content of `selection.json`: the config and its hash, the counts, and how many each reason took."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    select_hash: str
    config: SelectConfig
    seen: int
    failed: int
    dropped: int
    kept: int
    reasons: dict[str, int]


def select(store: Store, plan: Plan, config: SelectConfig) -> Selection:
    """Decides about every candidate and writes the selection, unless it stands already.

    Args:
        store: the dataset; every part of its ledger must be there.
        plan: its plan.
        config: rules and duplicate distance.

    Raises:
        UserError: parts are not scored yet, or the dataset was packed from another selection.
    """
    wanted = config_hash(config)
    standing = load_selection(store) if store.exists(SELECTION) else None
    if standing and standing.select_hash == wanted:
        return standing
    if standing and store.exists(PACKING):
        raise UserError(
            f"{store.url} was packed from selection {standing.select_hash}, these rules are {wanted};"
            f" select into a new dataset: supir-curate select {store.url} -o NEW"
        )
    require_scored(store, plan)
    store.delete(SELECTION)
    duplicates = _survivors(store, plan, config.rules).duplicates(config.max_hash_distance)
    reasons: Counter[str] = Counter()
    tally = Tally()
    for number, part in enumerate(plan.parts()):
        table = _part_selection(read_scores(store, part), config.rules, duplicates.get(number, {}))
        store.write_table(selection_path(part), table)
        reasons.update(filter(None, table.column("reason").to_pylist()))
        tally += _tally(table)
    tally = tally.checked()
    selection = Selection(
        select_hash=wanted,
        config=config,
        seen=tally.seen,
        failed=tally.failed,
        dropped=tally.dropped,
        kept=tally.kept,
        reasons=dict(sorted(reasons.items())),
    )
    store.write(SELECTION, selection.model_dump_json(indent=1).encode() + b"\n")
    return selection


def load_selection(store: Store) -> Selection:
    """Returns what was selected.

    Raises:
        UserError: nothing was yet, or the file is damaged.
    """
    if not store.exists(SELECTION):
        raise UserError(f"{store.url} has no {SELECTION}; run: supir-curate select {store.url}")
    return read_state(store, SELECTION, Selection, f"delete it and run: supir-curate select {store.url}")


def selection_path(part: str) -> str:
    """Returns where a part's decisions lie: source_row, key, state, reason, detail."""
    return f"selection/{part}.parquet"


def read_scores(store: Store, part: str) -> pa.Table:
    """Returns a part's ledger."""
    return store.read_table(ledger_path(part))


def branch(store: Store, new: Store) -> Plan:
    """Copies plan, candidates and ledger into a new dataset, to be selected and packed on its own.

    Fetched bytes are not copied: the new plan names the dataset that holds them.

    Raises:
        UserError: the new dataset was begun from something else.
    """
    plan = load_plan(store)
    branched = plan.model_copy(update={"spool": plan.spool or store.url}) if plan.kind == "urls" else plan
    if new.exists(PLAN):
        if load_plan(new) != branched:
            raise UserError(f"{new.url} is another dataset; give a new folder with -o")
        return branched
    require_scored(store, plan)
    for part in plan.parts():
        for path in (candidates_path(part), ledger_path(part)):
            new.write(path, store.read(path))
    save_plan(new, branched)
    return branched


def require_scored(store: Store, plan: Plan) -> None:
    """Raises UserError if a part of the ledger is missing."""
    done = set(store.list("ledger"))
    missing = [part for part in plan.parts() if ledger_path(part) not in done]
    if missing:
        raise UserError(
            f"{len(missing)} of {plan.num_parts} parts of {store.url} are not scored, first {missing[0]};"
            f" run: supir-curate score {plan.source} -o {store.url}"
        )


def _survivors(store: Store, plan: Plan, rules: Rules) -> Survivors:
    survivors = Survivors()
    for number, part in enumerate(plan.parts()):
        ledger = read_scores(store, part)
        passed = _measured(ledger) & (_first_failed(ledger, rules) == PASSED)
        survivors.add(number, ledger.filter(passed))
    return survivors


def _measured(ledger: pa.Table) -> NDArray[np.bool_]:
    return np.array([status != FAILED for status in ledger.column("status").to_pylist()], dtype=bool)


def _first_failed(ledger: pa.Table, rules: Rules) -> NDArray[np.int16]:
    return first_failed({name: numbers(ledger, f"score.{name}") for name in SCORE_NAMES}, rules)


def _part_selection(ledger: pa.Table, rules: Rules, duplicates: dict[int, Verdict]) -> pa.Table:
    import pyarrow as pa

    failed_rule = _first_failed(ledger, rules).tolist()
    names = ("source_row", "key", "status", "reason", "detail")
    rows = []
    for place, row in enumerate(ledger.select(names).to_pylist()):
        if row["status"] == FAILED:
            state, verdict = FAILED, Verdict(False, Reason(row["reason"]), row["detail"])
        else:
            broken = _broken_rule(ledger, place, failed_rule[place], rules)
            verdict = broken if broken is not None else duplicates.get(row["source_row"], KEEP)
            state = KEPT if verdict.keep else DROPPED
        rows.append(
            {
                "source_row": row["source_row"],
                "key": row["key"],
                "state": state,
                "reason": str(verdict.reason or ""),
                "detail": verdict.detail,
            }
        )
    schema = pa.schema(
        [("source_row", pa.int64()), *((name, pa.string()) for name in ("key", "state", "reason", "detail"))]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _broken_rule(ledger: pa.Table, place: int, number: int, rules: Rules) -> Verdict | None:
    if number == PASSED:
        return None
    reason, rule = list(rules.items())[number]
    value = ledger.column(f"score.{rule.score}")[place].as_py()
    return Verdict(False, reason, f"{rule.score} {value:.4g}, kept {rule.keep} {rule.limit:g}")


def _tally(table: pa.Table) -> Tally:
    states: Counter[Any] = Counter(table.column("state").to_pylist())
    return Tally(seen=table.num_rows, failed=states[FAILED], dropped=states[DROPPED], kept=states[KEPT])
