"""The decision about every candidate, from the ledger alone: rules, then duplicates and quotas among what passed.

Place in the flow: after `score`, before `pack`; repeated in seconds when a limit changes, no picture is read. The law:
`kept + dropped + failed == seen`; the result depends on the ledger and the select config alone. A part whose decisions
stay as they are is not written. `selection.json` is written last and names the config and every limit as a number; a
dataset that was packed keeps its selection: parts that came later are judged by the same numbers, and nothing of them
displaces what was kept.

The ledger's scores are read once, its texts once more for the parts' tables; what is held between is in `judging` and
`survivors`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from supir_console import Progress, UserError, config_hash, counted
from supir_curate.config.rules import Thresholds
from supir_curate.config.select import SelectConfig
from supir_curate.ledger import AT_ONCE, require_scores
from supir_curate.selection.barred import Barred, read_barred
from supir_curate.selection.decisions import DROPPED as DROPPED
from supir_curate.selection.decisions import KEPT as KEPT
from supir_curate.selection.decisions import REPEATING, Counts, name_repeated, selection_table
from supir_curate.selection.embeddings import Embeddings
from supir_curate.selection.foresight import limited_scores
from supir_curate.selection.foresight import require_foreseen as require_foreseen
from supir_curate.selection.judging import Judge
from supir_curate.selection.roles import scores_of, with_told
from supir_curate.selection.survivors import Survivors
from supir_curate.selection.thresholds import as_numbers
from supir_curate.sidecar import deciding_scorers, require_seen
from supir_curate.sources.additions import MOVED
from supir_curate.sources.look_ahead import in_order
from supir_curate.sources.plan import PLAN, Plan, candidates_path, load_plan, read_state, save_plan
from supir_curate.tombstones import TOMBSTONES
from supir_shards import Store, ledger_path
from supir_shards.layout import SCORES
from supir_shards.storage import table_bytes

if TYPE_CHECKING:
    import pyarrow as pa

SELECTION = "selection.json"
PACKING = "packing.json"
WRITTEN_AT_ONCE = 64  # parts whose files share a wait for the disk


class Selection(BaseModel):
    """The content of `selection.json`: the config and its hash, the limits, the counts, what each reason took.

    `roles` counts the kept ones; `parts` says of how many parts it decides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    select_hash: str
    config: SelectConfig
    thresholds: Thresholds
    seen: int
    failed: int
    dropped: int
    kept: int
    reasons: dict[str, int]
    roles: dict[str, int]
    parts: int = 0


def select(store: Store, plan: Plan, config: SelectConfig) -> Selection:
    """Decides about every candidate and writes the selection, unless it stands already.

    Args:
        store: the dataset; every part of its ledger must be there.
        plan: its plan.
        config: rules and duplicate distance.

    Raises:
        UserError: parts are not scored yet, or the dataset was packed from another selection.
    """
    barred = read_barred(config.exclude, config.similar)
    wanted = config_hash(config)
    if barred.names:
        wanted = hashlib.sha256(f"{wanted} {barred.digest()}".encode()).hexdigest()[:16]
    standing = load_selection(store) if store.exists(SELECTION) else None
    if standing and (standing.select_hash, standing.parts) == (wanted, plan.num_parts):
        return standing
    settled = standing if standing and store.exists(PACKING) else None
    if settled and settled.select_hash != wanted:
        raise UserError(
            f"{store.url} was packed from selection {settled.select_hash}, these rules are {wanted};"
            f" select into a new dataset: supir-curate select {store.url} -o NEW"
        )
    require_scored(store, plan)
    require_scores(store, plan, [*limited_scores(config), *scores_of(config.roles, config.quotas)])
    if settled is None:
        store.delete(SELECTION)
    counts, thresholds = _decide(store, plan, config, barred, settled)
    return write_selection(store, counts, config, thresholds, wanted, plan.num_parts)


def _decide(
    store: Store, plan: Plan, config: SelectConfig, barred: Barred, settled: Selection | None
) -> tuple[Counts, Thresholds]:
    """Judges every part, finds who is excluded among what passed, and writes the decisions that are not settled."""
    parts, survivors, counts = plan.parts(), Survivors(config.quotas), Counts()
    num_settled = settled.parts if settled else 0
    rules = as_numbers(config.rules, settled.thresholds) if settled else config.rules
    judge = Judge(store, rules, config.roles, survivors, scores_of(config.roles, config.quotas))

    def read(part: str) -> pa.Table:
        ledger = judge.read(part)
        return with_told(store, part, ledger)

    with Progress(2 * len(parts), "select", "parts") as progress:
        for number, ledger in enumerate(in_order(read, parts, AT_ONCE)):
            judge.add(ledger, _kept(store, parts[number]) if number < num_settled else None)
            progress.advance()
        thresholds, judged = judge.settled()
        thresholds = settled.thresholds if settled else thresholds
        _require_all_seen(store, parts, judge.named, survivors)
        embeddings = Embeddings(store, config.similar.scorer, parts) if config.similar else None
        excluded = survivors.excluded(
            config.max_hash_distance, barred, embeddings, config.similar.min_cosine if config.similar else 1
        )
        name_repeated(store, parts, excluded)

        standing, changed = set(store.list("selection")), dict[str, bytes]()

        def decided(number: int) -> tuple[pa.Table, dict[str, bytes]]:
            part = parts[number]
            table = selection_table(store, part, judged[number], thresholds, excluded.of_part(number))
            path, data = selection_path(part), table_bytes(table, REPEATING)
            return table, {} if path in standing and store.read(path) == data else {path: data}

        for part in parts[:num_settled]:
            counts.add(store.read_table(selection_path(part)))
        for table, files in in_order(decided, range(num_settled, len(parts)), AT_ONCE):
            counts.add(table)
            changed |= files
            if len(changed) >= WRITTEN_AT_ONCE:
                store.write_many(changed)
                changed = {}
            progress.advance()
        store.write_many(changed)
    return counts, thresholds


def _kept(store: Store, part: str) -> NDArray[np.bool_]:
    states = store.read_table(selection_path(part), ["state"]).column("state").to_pylist()
    return np.array([state == KEPT for state in states], dtype=bool)


def _require_all_seen(
    store: Store, parts: Sequence[str], wanted: Collection[str], survivors: Survivors
) -> None:
    scorers = deciding_scorers(store, wanted)
    rows_of = survivors.rows_of(len(parts)) if scorers else []
    for part, rows in zip(parts if scorers else [], rows_of, strict=True):
        require_seen(store, part, scorers, rows)


def write_selection(
    store: Store,
    counts: Counts,
    config: SelectConfig,
    thresholds: Thresholds,
    select_hash: str,
    num_parts: int,
) -> Selection:
    """Writes `selection.json`, the mark that the decisions are complete.

    Args:
        store: the dataset; every part of its selection is there.
        counts: over all parts.
        config: what was selected under.
        thresholds: the limits that were used.
        select_hash: of the config and of the evaluation sets that it names.
        num_parts: that were decided.
    """
    tally = counts.tally.checked()
    selection = Selection(
        select_hash=select_hash,
        config=config,
        thresholds=thresholds,
        seen=tally.seen,
        failed=tally.failed,
        dropped=tally.dropped,
        kept=tally.kept,
        reasons=dict(sorted(counts.reasons.items())),
        roles=dict(sorted(counts.roles.items())),
        parts=num_parts,
    )
    store.write(SELECTION, selection.model_dump_json(indent=1).encode() + b"\n")
    return selection


def rules_of_packed(store: Store, given: SelectConfig) -> SelectConfig:
    """Returns what a packed dataset was selected under where nothing else is given, else what is given."""
    if given == SelectConfig() and store.exists(PACKING) and store.exists(SELECTION):
        return load_selection(store).config
    return given


def load_selection(store: Store) -> Selection:
    """Returns what was selected.

    Raises:
        UserError: nothing was yet, or the file is damaged.
    """
    if not store.exists(SELECTION):
        raise UserError(f"{store.url} has no {SELECTION}; run: supir-curate select {store.url}")
    return read_state(store, SELECTION, Selection, f"delete it and run: supir-curate select {store.url}")


def selection_path(part: str) -> str:
    """Returns where a part's decisions lie: source_row, key, state, reason, detail, role."""
    return f"selection/{part}.parquet"


def branch(store: Store, new: Store) -> Plan:
    """Copies what was scored, and the list of what was removed, into a new dataset to be selected on its own.

    Fetched bytes are not copied: the new plan names the dataset that holds them.

    Raises:
        UserError: the new dataset was begun from something else.
    """
    plan = load_plan(store)
    branched = plan.model_copy(update={"spool": plan.spool or store.url}) if plan.has("urls") else plan
    if new.exists(PLAN):
        if load_plan(new) != branched:
            raise UserError(f"{new.url} is another dataset; give a new folder with -o")
        return branched
    require_scored(store, plan)
    for part in plan.parts():
        for path in (candidates_path(part), ledger_path(part)):
            new.write(path, store.read(path))
    for path in [*store.list(SCORES), *filter(store.exists, [TOMBSTONES])]:
        new.write(path, store.read(path))
    save_plan(new, branched)
    return branched


def require_scored(store: Store, plan: Plan) -> None:
    """Raises UserError if a part of the ledger is missing."""
    done = set(store.list("ledger"))
    missing = [part for part in plan.parts() if ledger_path(part) not in done]
    if missing:
        raise UserError(
            f"{store.url} has {len(missing)} of {counted(plan.num_parts, 'part')} not scored, first {missing[0]};"
            f" run: supir-curate score {plan.source} -o {store.url}"
        )
    if store.list(MOVED):
        raise UserError(
            f"{store.url} was stopped while candidates that were tried again moved to new parts; run:"
            f" supir-curate score {plan.source} -o {store.url}"
        )


def require_selected(store: Store, plan: Plan) -> Selection:
    """Returns what was selected.

    Raises:
        UserError: nothing was yet, or parts came since.
    """
    selection = load_selection(store)
    if selection.parts != plan.num_parts:
        raise UserError(
            f"{store.url} has {plan.num_parts} parts, its selection decides about {selection.parts};"
            f" run: supir-curate select {store.url}"
        )
    return selection
