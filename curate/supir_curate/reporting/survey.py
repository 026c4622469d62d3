"""The figures and examples of a selection: what the report shows, read from ledger and selection part by part.

Place in the flow: after `select`, before `report` draws it. The law: every figure counts all candidates, every example
is chosen by a rule that a rerun repeats: nearest to a limit, or smallest key, which is as good as random.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import Thresholds
from supir_curate.fetching.address import host_of
from supir_curate.ledger import numbers, read_scores
from supir_curate.score import FAILED
from supir_curate.scores import SCORES, Score
from supir_curate.selection.select import KEPT, selection_path
from supir_curate.sidecar import sidecar_scores
from supir_curate.sources.plan import Plan
from supir_curate.verdict import Reason
from supir_shards import Store

if TYPE_CHECKING:
    import pyarrow as pa

NUM_BINS = 40
NEAR_LIMIT = 5  # examples on each side of a limit
PER_REASON = 10
CLUSTERS = 12
CLUSTER_MEMBERS = 5


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """One candidate to show; `rank` orders examples of one kind, smallest first."""

    rank: float
    key: str
    part: str
    row: int
    url: str
    caption: str

    @property
    def place(self) -> tuple[str, int]:
        """Part and source row."""
        return self.part, self.row


class Best:
    """The few smallest of many examples."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[Example] = []

    def offer(self, examples: Iterable[Example]) -> None:
        """Keeps the smallest ones of what is held and offered."""
        self._held = heapq.nsmallest(self._limit, [*self._held, *examples])

    def examples(self) -> list[Example]:
        """The held ones, smallest first."""
        return self._held


@dataclass(slots=True)
class Survey:
    """What the report shows.

    `scores` are the probes' and the scorers'. `bins` maps a score to two rows of counts, kept and dropped, over its
    range; `near` maps a reason to examples just kept and just dropped by its rule; `clusters` maps the key of a kept
    picture to those that duplicate it.
    """

    scores: tuple[Score, ...] = SCORES
    bins: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    near: dict[str, tuple[Best, Best]] = field(default_factory=dict)
    kept: Best = field(default_factory=lambda: Best(2 * PER_REASON))
    dropped: dict[str, Best] = field(default_factory=dict)
    clusters: dict[str, Best] = field(default_factory=dict)
    cluster_sizes: Counter[str] = field(default_factory=Counter)
    host_failures: dict[str, Counter[str]] = field(default_factory=dict)

    def examples(self) -> list[Example]:
        """All examples; one picture may be several."""
        groups = [self.kept, *self.dropped.values(), *self.clusters.values()]
        groups += [best for pair in self.near.values() for best in pair]
        return [example for best in groups for example in best.examples()]

    def places(self) -> set[tuple[str, int]]:
        """Part and row of every example, to fetch their pictures once."""
        return {example.place for example in self.examples()}


def survey(store: Store, plan: Plan, rules: Thresholds) -> Survey:
    """Returns the figures and examples of a dataset's selection."""
    result = Survey(scores=(*SCORES, *sidecar_scores(store)))
    for score in result.scores:
        result.bins[score.name] = np.zeros((2, NUM_BINS), dtype=np.int64)
    for part in plan.parts():
        ledger = read_scores(store, part)
        decisions = store.read_table(selection_path(part))
        _count_scores(result, ledger, decisions)
        _near_limits(result, part, ledger, rules)
        _examples(result, part, ledger, decisions)
    _fill_clusters(result, store, plan)
    return result


def _count_scores(result: Survey, ledger: pa.Table, decisions: pa.Table) -> None:
    kept = np.array([state == KEPT for state in decisions.column("state").to_pylist()], dtype=bool)
    for score in result.scores:
        if f"score.{score.name}" not in ledger.column_names:
            continue  # its scorer has not come to this part
        values = numbers(ledger, f"score.{score.name}")
        inside = np.clip(values, score.low, score.high)
        for place, chosen in enumerate((kept, ~kept)):
            counts, _ = np.histogram(inside[chosen], bins=NUM_BINS, range=(score.low, score.high))
            result.bins[score.name][place] += counts
        result.missing[score.name] += int(np.isnan(values[kept]).sum())


def _near_limits(result: Survey, part: str, ledger: pa.Table, rules: Thresholds) -> None:
    for reason, rule in rules.items():
        if rule.limit is None:
            continue
        values = numbers(ledger, f"score.{rule.score}")
        measured, passes = ~np.isnan(values), rule.passes(values)
        pair = result.near.setdefault(reason, (Best(NEAR_LIMIT), Best(NEAR_LIMIT)))
        for best, side in zip(pair, (measured & passes, measured & ~passes), strict=True):
            rows = np.flatnonzero(side)
            closest = rows[np.argsort(np.abs(values[rows] - rule.limit), kind="stable")[:NEAR_LIMIT]]
            best.offer(
                _example(ledger, part, int(row), abs(float(values[row]) - rule.limit), f"{values[row]:.3g}")
                for row in closest
            )


def _examples(result: Survey, part: str, ledger: pa.Table, decisions: pa.Table) -> None:
    columns = {
        name: np.array(decisions.column(name).to_pylist(), dtype=object) for name in decisions.column_names
    }
    readable = columns["key"] != None  # noqa: E711 - elementwise
    result.kept.offer(_smallest_keys(ledger, part, columns, columns["state"] == KEPT, 2 * PER_REASON))
    for reason in sorted(set(columns["reason"]) - {""}):
        chosen = readable & (columns["reason"] == reason)
        best = result.dropped.setdefault(reason, Best(PER_REASON))
        best.offer(_smallest_keys(ledger, part, columns, chosen, PER_REASON))
    result.cluster_sizes.update(columns["detail"][columns["reason"] == Reason.NEAR_DUPLICATE])
    for place in np.flatnonzero(columns["state"] == FAILED):
        host = host_of(ledger.column("url")[int(place)].as_py() or "")
        result.host_failures.setdefault(host, Counter())[columns["reason"][place]] += 1


def _smallest_keys(
    ledger: pa.Table, part: str, columns: dict[str, NDArray[Any]], chosen: NDArray[np.bool_], count: int
) -> list[Example]:
    places = heapq.nsmallest(count, np.flatnonzero(chosen).tolist(), key=lambda place: columns["key"][place])
    return [_example(ledger, part, place, 0, columns["detail"][place]) for place in places]


def _fill_clusters(result: Survey, store: Store, plan: Plan) -> None:
    """Collects the members of the largest clusters, the kept picture first."""
    largest = sorted(result.cluster_sizes.items(), key=lambda item: (-item[1], item[0]))[:CLUSTERS]
    result.clusters = {key: Best(1 + CLUSTER_MEMBERS) for key, _ in largest}
    for part in plan.parts() if largest else []:
        ledger = read_scores(store, part)
        for place, row in enumerate(store.read_table(selection_path(part)).to_pylist()):
            if row["state"] == KEPT and row["key"] in result.clusters:
                result.clusters[row["key"]].offer([_example(ledger, part, place, -1, "kept")])
            elif row["reason"] == Reason.NEAR_DUPLICATE and row["detail"] in result.clusters:
                result.clusters[row["detail"]].offer([_example(ledger, part, place, 0, "")])


def _example(ledger: pa.Table, part: str, place: int, rank: float, caption: str) -> Example:
    def value(name: str) -> Any:
        return ledger.column(name)[place].as_py()

    return Example(rank, value("key") or "", part, value("source_row"), value("url"), caption)
