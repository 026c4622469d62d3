"""The steps of a curation run over a whole dataset: score, select, pack.

Place in the flow: `cli` calls these; each hands the work of a part to `cluster`. The law: a step does what is not there
yet and nothing else, so a run that was stopped anywhere continues, and a finished one does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from supir_console import Progress, UserError, config_hash
from supir_curate.cluster import Cluster, Fetching
from supir_curate.config import CurateConfig, FetchConfig
from supir_curate.failures import write_failures
from supir_curate.packing.carry import carry_captioners
from supir_curate.packing.pack import begin_packing, pack_part
from supir_curate.reporting.throughput import timed
from supir_curate.retry import Retried, retry_failed, settle_moved
from supir_curate.score import score_part
from supir_curate.scorers.config import AssessConfig
from supir_curate.selection.select import require_scored, require_selected
from supir_curate.sources.originals import SPOOL, spool_store
from supir_curate.sources.plan import Plan, make_plan
from supir_curate.verdict import Tally
from supir_shards import MANIFEST, Manifest, Store, finish_dataset, index_path, ledger_path, load_manifest

COMMAND = "supir-curate"
LEDGER, INDEX = "ledger", "index"


def score(
    store: Store,
    sources: str | Sequence[str],
    config: CurateConfig,
    cluster: Cluster,
    *,
    allow_private: bool,
) -> Plan:
    """Fetches and measures every candidate that is not in the ledger yet; returns the plan.

    Args:
        store: the dataset.
        sources: one or several, see `sources.list_source`.
        config: the run's config.
        cluster: where the parts are worked on.
        allow_private: whether URLs may lead to hosts outside the public internet.
    """
    plan = make_plan(store, sources, config, cluster.spread)
    score_parts(store, plan, config, cluster, allow_private=allow_private)
    return plan


def score_parts(
    store: Store, plan: Plan, config: CurateConfig, cluster: Cluster, *, allow_private: bool
) -> None:
    """Fetches and measures the parts that are not in the ledger yet, as `score`."""
    done = set(store.list(LEDGER))
    todo = [part for part in plan.parts() if ledger_path(part) not in done]
    fetched = [part for part in todo if plan.piece_of(part).kind == "urls"]
    fetching = _fetching(store, config, allow_private) if fetched else None
    there = [part for part in todo if plan.piece_of(part).kind != "urls"]
    sizes = plan.sizes()
    work = partial(timed, "score", store.url, partial(score_part, store.url, plan, config=config))
    with Progress(sum(sizes[part] for part in todo), "score", "images") as progress:
        for tally in chain(cluster.run(work, there), cluster.run(work, fetched, fetching)):
            assert isinstance(tally, Tally)
            progress.advance(tally.seen)
    has_moved = settle_moved(store)
    if (todo or has_moved) and store.exists(MANIFEST):
        _retell(store)


def retry(
    store: Store, plan: Plan, config: CurateConfig, cluster: Cluster, *, allow_private: bool
) -> tuple[Plan, Retried]:
    """Tries again what failed for passing reasons, and measures what came of it; as `retry.retry_failed`."""

    def fetching(place: str) -> Fetching:
        return _fetching(Store(place), config, allow_private)

    plan, retried = retry_failed(store, plan, cluster, fetching)
    score_parts(store, plan, config, cluster, allow_private=allow_private)
    return plan, retried


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
    require_selected(store, plan)
    begin_packing(store, config.pack)
    todo = unpacked_parts(store, plan)
    if todo:
        require_source(plan)
    work = partial(timed, "pack", store.url, partial(pack_part, store.url, plan, config=config))
    with Progress(len(todo), "pack", "parts") as progress:
        for _ in cluster.run(work, todo):
            progress.advance()
    carry_captioners(store, plan)
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
    for piece in plan.all_pieces():
        place = Path(piece.source)
        is_there = place.is_file() or (place.is_dir() and any(place.iterdir()))
        if piece.kind != "urls" and "://" not in piece.source and not is_there:
            raise UserError(
                f"{place} is gone or empty, but pictures of it are to be packed; mount or restore it"
            )


def drop_spool(store: Store, plan: Plan) -> None:
    """Deletes the fetched bytes; the shards hold what was kept."""
    if plan.has("urls") and spool_store(store, plan).url == store.url:
        for path in store.list(SPOOL):
            store.delete(path)


def _fetching(store: Store, config: CurateConfig, allow_private: bool) -> Fetching:
    from supir_curate.fetching.fetch import Fetcher

    return Fetching(partial(Fetcher, config.fetch, allow_private), store.url)


def _retell(store: Store) -> None:
    """Lets `dataset.json` of a packed dataset tell of files that changed since; what made it stays as recorded."""
    made = next(step for step in reversed(load_manifest(store).lineage) if step.command == COMMAND)
    finish_dataset(store, command=COMMAND, config=made.config, config_hash=made.config_hash)
