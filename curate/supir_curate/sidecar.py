"""The answers of one scorer for one part: scores/NAME/part-N.parquet, beside the ledger that never changes.

Place in the flow: `assess_actor` writes them, `ledger.read_scores` joins them. The law: a row is a picture that was
looked at, so a picture without a row was not; NaN is "no answer", and `detail` then says why. A file is whole or not
there, and rows in it are never looked at again: it grows when rules are loosened. Its metadata names scorer, config and
the SHA-256 of the weights, and only answers of the same ones stand under one name.

Columns: source_row (int64), detail (string), score.X (float64), embedding (float16 list, where the scorer has one).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError, counted
from supir_curate.config import CurateConfig
from supir_curate.config.rules import PASSED, Threshold, first_failed
from supir_curate.ledger import numbers
from supir_curate.score import OK
from supir_curate.scorers.config import PLACES, AnyScorer
from supir_curate.scorers.contract import Answer, Identity
from supir_curate.scores import PREFIX, Score
from supir_shards import Store, ledger_path
from supir_shards.layout import SCORES, scores_path
from supir_shards.manifest import package_version

if TYPE_CHECKING:
    import pyarrow as pa

EMBEDDING = "embedding"
SCORER, CONFIG, CONFIG_HASH = "scorer", "config", "config_hash"
WEIGHTS, PACKAGES, MEASURED = "weights", "packages", "scores"

Rows = dict[int, tuple[Answer, str]]  # source row to answer and detail


def wanted_rows(store: Store, part: str, config: CurateConfig) -> list[int]:
    """Returns the source rows of a part that scorers shall look at: measured, and passing the given limits.

    Only the ledger's own scores count: what other scorers found must not decide who is looked at, or the order of
    scorers would.

    Args:
        store: the dataset, with its ledger.
        part: name of the part.
        config: its select and assess sections.
    """
    own = set(store.columns(ledger_path(part)))
    limits = {
        name: Threshold(score=rule.score, keep=rule.keep, limit=rule.limit, found="given")
        for name, rule in config.select.rules.items()
        if isinstance(rule.limit, float) and PREFIX + rule.score in own and config.assess.only_passing
    }
    columns = sorted({PREFIX + limit.score for limit in limits.values()})
    table = store.read_table(ledger_path(part), ["source_row", "status", *columns])
    wanted = np.array([status == OK for status in table.column("status").to_pylist()], dtype=bool)
    if limits:
        values = {name.removeprefix(PREFIX): numbers(table, name) for name in columns}
        wanted &= first_failed(values, limits) == PASSED
    return [int(row) for row in np.asarray(table.column("source_row").to_numpy())[wanted]]


def missing_rows(store: Store, part: str, config: CurateConfig) -> dict[str, list[int]]:
    """Returns for each scorer the wanted rows that it has not looked at; a finished scorer is left out."""
    wanted = wanted_rows(store, part, config)
    missing: dict[str, list[int]] = {}
    for name in config.assess.scorers:
        path = scores_path(name, part)
        if not store.exists(path):
            missing[name] = wanted
            continue
        seen = set(store.read_table(path, ["source_row"]).column("source_row").to_pylist())
        if left := [row for row in wanted if row not in seen]:
            missing[name] = left
    return missing


def stamp(name: str, scorer: AnyScorer, side_px: int, identity: Identity) -> dict[str, str]:
    """Returns a sidecar's metadata.

    Args:
        name: of the scorer.
        scorer: its config; where its weights lie is left out, for what they are stands beside it.
        side_px: of the pictures that it sees.
        identity: of its weights.
    """
    config = json.dumps(
        {"scorer": scorer.model_dump(mode="json", exclude=set(PLACES)), "side_px": side_px}, sort_keys=True
    )
    return {
        SCORER: name,
        CONFIG: config,
        CONFIG_HASH: hashlib.sha256(config.encode()).hexdigest()[:16],
        WEIGHTS: json.dumps(identity.weights, sort_keys=True),
        MEASURED: json.dumps(scorer.scores(name)),
        PACKAGES: json.dumps({**identity.packages, "supir-stack": package_version()}, sort_keys=True),
    }


def require_same(store: Store, stamps: Mapping[str, Mapping[str, str]]) -> None:
    """Checks that answers that stand already came from the same scorers.

    Args:
        store: the dataset.
        stamps: metadata of each scorer as it would write now.

    Raises:
        UserError: other weights or another config made them.
    """
    for name, ours in stamps.items():
        paths = store.list(f"{SCORES}/{name}", ".parquet")
        theirs = read_stamp(store, paths[0]) if paths else ours
        for key in (CONFIG, WEIGHTS):
            if theirs.get(key) != ours[key]:
                raise UserError(
                    f"{store.url}/scores/{name} was made with {key} {theirs.get(key)}, not {ours[key]}; use the same,"
                    f" name this scorer otherwise, or delete scores/{name}"
                )


def read_stamp(store: Store, path: str) -> dict[str, str]:
    """Returns a sidecar's metadata, empty where it is not one of ours."""
    import pyarrow.parquet as pq

    with store.open(path) as stream:
        metadata = pq.read_schema(stream).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def sidecar_scores(store: Store) -> tuple[Score, ...]:
    """Returns what the scorers measured that have looked at a dataset, with units and ranges."""
    found: list[Score] = []
    for name in store.folders(SCORES):
        paths = store.list(f"{SCORES}/{name}", ".parquet")
        told = read_stamp(store, paths[0]).get(MEASURED, "[]") if paths else "[]"
        found += [Score(*values) for values in json.loads(told)]
    return tuple(found)


def deciding_scorers(store: Store, wanted: Collection[str]) -> list[str]:
    """Returns the scorers that give one of these scores; what a source says of its pictures is none of theirs."""
    columns, found = {PREFIX + name for name in wanted}, []
    for name in store.folders(SCORES):
        paths = store.list(f"{SCORES}/{name}", ".parquet")
        if paths and columns.intersection(store.columns(paths[0])) and SCORER in read_stamp(store, paths[0]):
            found.append(name)
    return found


def require_seen(store: Store, part: str, scorers: Collection[str], rows: NDArray[Any]) -> None:
    """Checks that scorers have looked at all that is about to be kept: a missing score breaks no rule.

    Args:
        store: the dataset.
        part: name of the part.
        scorers: whose scores decide.
        rows: (N,) source rows that pass.

    Raises:
        UserError: a scorer has not seen one of them.
    """
    for name in scorers:
        path = scores_path(name, part)
        if not store.exists(path):
            continue
        seen = store.read_table(path, ["source_row"]).column("source_row").to_numpy()
        unseen = np.setdiff1d(rows, seen)
        if len(unseen):
            raise UserError(
                f"{name} has not looked at {counted(len(unseen), 'picture')} of {part} that pass, first row"
                f" {unseen[0]:.0f}; run, with the rules of this selection:"
                f" supir-curate assess {store.url} --with {name}"
            )


def write_sidecar(
    store: Store, part: str, score_names: list[str], width: int, stamp: Mapping[str, str], rows: Rows
) -> None:
    """Writes a part's answers together with those that stand there, in one visible step.

    Args:
        store: the dataset.
        part: name of the part.
        score_names: without prefix.
        width: of the embedding, 0 for none.
        stamp: metadata.
        rows: new answers.
    """
    import pyarrow as pa

    path = scores_path(stamp[SCORER], part)
    table = _table(score_names, width, rows)
    if store.exists(path):
        table = pa.concat_tables([store.read_table(path).cast(table.schema), table]).sort_by("source_row")
        table = table.combine_chunks()
    store.write_table(path, table.replace_schema_metadata(dict(stamp)))


def _table(score_names: list[str], width: int, rows: Rows) -> pa.Table:
    import pyarrow as pa

    order = sorted(rows)
    answers = [rows[row][0] for row in order]
    columns: dict[str, Any] = {
        "source_row": pa.array(order, pa.int64()),
        "detail": pa.array([rows[row][1] for row in order], pa.string()),
    }
    for name in score_names:
        values = [answer.scores.get(name, float("nan")) for answer in answers]
        columns[PREFIX + name] = pa.array(values, pa.float64())
    if width:
        none = np.full(width, np.nan, dtype=np.float32)
        found = [none if answer.embedding is None else answer.embedding for answer in answers]
        flat = np.concatenate([*found, np.empty(0, np.float32)]).astype(np.float16)
        columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(pa.array(flat), width)
    return pa.table(columns)
