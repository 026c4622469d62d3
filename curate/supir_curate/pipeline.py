"""The steps of a curation run over a whole dataset: score, select, pack.

Place in the flow: `cli` calls these; each hands the work of a part to `cluster`. The law: a step does what is not there
yet and nothing else, so a run that was stopped anywhere continues, and a finished one does nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from supir_console import Progress, UserError, config_hash
from supir_curate.cluster import Cluster, Fetching
from supir_curate.config import CurateConfig, FetchConfig
from supir_curate.failures import write_failures
from supir_curate.packing.pack import begin_packing, pack_part
from supir_curate.reporting.throughput import timed
from supir_curate.score import score_part
from supir_curate.scorers.config import AssessConfig
from supir_curate.selection.select import require_scored
from supir_curate.sources.originals import SPOOL, spool_store
from supir_curate.sources.plan import Plan, make_plan
from supir_curate.verdict import Tally
from supir_shards import Manifest, Store, finish_dataset, index_path, ledger_path

COMMAND = "supir-curate"
LEDGER, INDEX = "ledger", "index"


def score(store: Store, source: str, config: CurateConfig, cluster: Cluster, *, allow_private: bool) -> Plan:
    """Fetches and measures every candidate that is not in the ledger yet; returns the plan.

    Args:
        store: the dataset.
        source: see `sources.list_source`.
        config: the run's config.
        cluster: where the parts are worked on.
        allow_private: whether URLs may lead to hosts outside the public internet.
    """
    plan = make_plan(store, source, config, cluster.spread)
    done = set(store.list(LEDGER))
    todo = [part for part in plan.parts() if ledger_path(part) not in done]
    fetching = _fetching(store, config, allow_private) if plan.kind == "urls" and todo else None
    work = partial(timed, "score", store.url, partial(score_part, store.url, plan, config=config))
    with Progress(_num_candidates(plan, config, todo), "score", "images") as progress:
        for tally in cluster.run(work, todo, fetching):
            assert isinstance(tally, Tally)
            progress.advance(tally.seen)
    return plan


def pack(store: Store, plan: Plan, config: CurateConfig, cluster: Cluster) -> Manifest:
    """Writes the shards that are not there yet, then `dataset.json`; returns the manifest.

    Args:
        store: the dataset, with its selection.
        plan: its plan.
        config: the config as earlier steps recorded it.
        cluster: where the parts are worked on.

    Raises:
        UserError: parts are not scored, packing began under another config, or the source is gone.
    """
    require_scored(store, plan)
    begin_packing(store, config.pack)
    todo = unpacked_parts(store, plan)
    if todo:
        require_source(plan)
    work = partial(timed, "pack", store.url, partial(pack_part, store.url, plan, config=config))
    with Progress(len(todo), "pack", "parts") as progress:
        for _ in cluster.run(work, todo):
            progress.advance()
    write_failures(store, plan)
    # What is not recorded must not make two datasets differ.
    recorded = config.model_copy(
        update={"fetch": FetchConfig(policy=config.fetch.policy), "assess": AssessConfig()}
    )
    return finish_dataset(store, command=COMMAND, config=recorded.record(), config_hash=config_hash(recorded))


def unpacked_parts(store: Store, plan: Plan) -> list[str]:
    """Returns the parts whose shard is not committed yet."""
    done = set(store.list(INDEX))
    return [part for part in plan.parts() if index_path(part) not in done]


def require_source(plan: Plan) -> None:
    """Raises UserError if a whole source is gone, as with a disk that is not mounted.

    One picture that went is noted and left out; without this, all of them would be.
    """
    place = Path(plan.source)
    is_there = place.is_file() or (place.is_dir() and any(place.iterdir()))
    if plan.kind != "urls" and "://" not in plan.source and not is_there:
        raise UserError(f"{place} is gone or empty, but pictures of it are to be packed; mount or restore it")


def drop_spool(store: Store, plan: Plan) -> None:
    """Deletes the fetched bytes; the shards hold what was kept."""
    if plan.kind == "urls" and spool_store(store, plan).url == store.url:
        for path in store.list(SPOOL):
            store.delete(path)


def _fetching(store: Store, config: CurateConfig, allow_private: bool) -> Fetching:
    from supir_curate.fetching.fetch import Fetcher

    return Fetching(partial(Fetcher, config.fetch, allow_private), store.url)


def _num_candidates(plan: Plan, config: CurateConfig, parts: list[str]) -> int:
    """Returns how many candidates these parts hold; every part but the last is full."""
    last = plan.num_candidates - (plan.num_parts - 1) * config.source.part_size
    has_last = plan.parts()[-1] in parts
    return (len(parts) - has_last) * config.source.part_size + has_last * last
