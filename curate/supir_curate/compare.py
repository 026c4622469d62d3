"""What differs between two datasets: samples, the fate of candidates, captions, config.

Place in the flow: `supir-curate diff`. The law: a sample is known by its key and a candidate by its URL or path, so two
runs compare whatever their parts are; a key or URL that comes twice in a dataset counts once. No picture and no tar is
read. Memory: 41 bytes a sample and 18 a candidate of both datasets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.selection.decisions import KEPT
from supir_curate.selection.select import selection_path
from supir_shards import Role, Store, index_path, ledger_path, load_manifest, part_of

if TYPE_CHECKING:
    import pyarrow as pa

Hashes = NDArray[np.uint64]
Places = NDArray[np.intp]
ROLES = tuple(Role)
MAX_CONFIG_LINES = 100
CHANGES = ("only_in_a", "only_in_b", "other_bytes", "other_scores", "other_role")


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of a dataset, each array of (N, …): keys, hashes of bytes and scores, number of the role."""

    keys: Hashes
    bytes: Hashes
    scores: Hashes
    role: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of a dataset: hashes of their URLs (N, 2), and the number of each one's fate in `fates`."""

    urls: Hashes
    fate: NDArray[np.int16]
    fates: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What two datasets differ in; samples and candidates of both, and the places of changed samples.

    `places` maps a change to the samples of A, or of B for `only_in_b`.
    """

    a: Samples
    b: Samples
    candidates: tuple[Candidates, Candidates]
    places: dict[str, Places]
    summary: dict[str, Any]


def compare(a: Store, b: Store) -> Difference:
    """Returns what differs between two finished datasets.

    Raises:
        DatasetError: one of them is none.
    """
    manifests = load_manifest(a), load_manifest(b)
    samples = read_samples(a), read_samples(b)
    places, num_same = _changed_samples(*samples)
    fates: list[str] = [KEPT]
    candidates = _read_candidates(a, fates), _read_candidates(b, fates)
    config = _config_lines(manifests[0].config, manifests[1].config)
    summary = {
        "samples": {"a": len(samples[0].keys), "b": len(samples[1].keys), "same": num_same}
        | {change: len(places[change]) for change in CHANGES},
        "candidates": _changed_fates(*candidates),
        "captions": {"a": manifests[0].totals.captions, "b": manifests[1].totals.captions},
        "config": config[:MAX_CONFIG_LINES],
        "config_differences": len(config),
    }
    return Difference(*samples, candidates, places, summary)


def read_samples(store: Store) -> Samples:
    """Returns the samples of a dataset from its indexes."""
    keys, content, scores, roles = [], [], [], []
    for path in store.list("index", ".parquet"):
        table = store.read_table(index_path(part_of(path)), ["key", "sha256", "scores", "role"])
        keys.append(_from_hex(table.column("key"), 2))
        content.append(_from_hex(table.column("sha256"), 4)[:, :2])
        scores.append(_fingerprints(table.column("scores")))
        roles.append(
            np.array([ROLES.index(Role(role)) for role in table.column("role").to_pylist()], dtype=np.int8)
        )
    return Samples(_rows(keys), _rows(content), _flat(scores, np.uint64), _flat(roles, np.int8))


def match(a: Hashes, b: Hashes) -> tuple[Places, Places]:
    """Returns the places in `a` and in `b` of what both have.

    Args:
        a: (N, 2) uint64.
        b: (M, 2) uint64.
    """
    both = np.concatenate([a, b])
    is_b = np.arange(len(both)) >= len(a)
    order = np.lexsort([is_b, both[:, 1], both[:, 0]])
    ordered = both[order]
    meets = (ordered[1:] == ordered[:-1]).all(axis=1) & (is_b[order][1:] != is_b[order][:-1])
    return order[:-1][meets], order[1:][meets] - len(a)


def changed_rows(a: Store, b: Store, difference: Difference) -> Iterator[pa.Table]:
    """Yields the changed samples, a table for each part with some: change, key, source, its fate in A and in B."""
    import pyarrow as pa

    only_a, only_b, *others = CHANGES
    in_a, in_b = map(_Fates, difference.candidates)
    for store, samples, changes in ((a, difference.a, [only_a, *others]), (b, difference.b, [only_b])):
        of_place = {int(place): change for change in reversed(changes) for place in difference.places[change]}
        begin = 0
        for path in store.list("index", ".parquet") if of_place else []:
            table = store.read_table(index_path(part_of(path)), ["key", "source"])
            places = [place for place in range(table.num_rows) if begin + place in of_place]
            chosen = table.take(pa.array(places, pa.int64()))
            sources = chosen.column("source").to_pylist()
            columns = {
                "change": [of_place[begin + place] for place in places],
                "key": chosen.column("key"),
                "source": chosen.column("source"),
                "in_a": in_a(sources),
                "in_b": in_b(sources),
            }
            begin += table.num_rows
            if places:
                yield pa.table(columns)
        assert begin in (0, len(samples.keys)), "an index changed while it was read"


def _changed_samples(a: Samples, b: Samples) -> tuple[dict[str, Places], int]:
    in_a, in_b = match(a.keys, b.keys)
    other = {
        "other_bytes": (a.bytes[in_a] != b.bytes[in_b]).any(axis=1),
        "other_scores": a.scores[in_a] != b.scores[in_b],
        "other_role": a.role[in_a] != b.role[in_b],
    }
    places = {change: in_a[differs] for change, differs in other.items()}
    places["only_in_a"] = np.setdiff1d(np.arange(len(a.keys)), in_a)
    places["only_in_b"] = np.setdiff1d(np.arange(len(b.keys)), in_b)
    differs = np.any(list(other.values()), axis=0)
    return places, len(in_a) - int(differs.sum())


def _read_candidates(store: Store, fates: list[str]) -> Candidates:
    numbers = {fate: number for number, fate in enumerate(fates)}
    urls, fate = [], []
    for path in store.list("selection", ".parquet"):
        part = part_of(path)
        reasons = store.read_table(selection_path(part), ["reason"]).column("reason").to_pylist()
        fate.append(
            np.array([numbers.setdefault(reason or KEPT, len(numbers)) for reason in reasons], dtype=np.int16)
        )
        urls.append(_url_hashes(store.read_table(ledger_path(part), ["url"]).column("url").to_pylist()))
    fates[:] = list(numbers)
    return Candidates(_rows(urls), _flat(fate, np.int16), fates)


def _changed_fates(a: Candidates, b: Candidates) -> dict[str, Any]:
    in_a, in_b = match(a.urls, b.urls)
    codes, counts = np.unique(a.fate[in_a].astype(np.int64) * len(b.fates) + b.fate[in_b], return_counts=True)
    pairs = [
        (*divmod(int(code), len(b.fates)), int(count)) for code, count in zip(codes, counts, strict=True)
    ]
    moved = [(count, a.fates[was], b.fates[now]) for was, now, count in pairs if was != now]
    return {
        "only_in_a": len(a.urls) - len(in_a),
        "only_in_b": len(b.urls) - len(in_b),
        "in_both": len(in_a),
        "changed": [
            {"a": was, "b": now, "count": count}
            for count, was, now in sorted(moved, key=lambda one: (-one[0], one[1:]))
        ],
    }


class _Fates:
    """Looks up what became of a URL in a dataset, "" where it was no candidate."""

    def __init__(self, candidates: Candidates) -> None:
        self._order = np.argsort(candidates.urls[:, 0], kind="stable")
        self._first = candidates.urls[self._order, 0]
        self._candidates = candidates

    def __call__(self, urls: list[str]) -> list[str]:
        hashes, known = _url_hashes(urls), self._candidates
        if not len(known.urls):
            return [""] * len(urls)
        # Of 64 bits alone, two of a billion URLs agree once in forty datasets; the other 64 then say that it is none.
        places = self._order[np.minimum(np.searchsorted(self._first, hashes[:, 0]), len(self._order) - 1)]
        is_there = (known.urls[places] == hashes).all(axis=1)
        return [
            known.fates[fate] if found else ""
            for fate, found in zip(known.fate[places], is_there, strict=True)
        ]


def _url_hashes(urls: list[str]) -> Hashes:
    digests = b"".join(hashlib.blake2b(url.encode(), digest_size=16).digest() for url in urls)
    return np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)


def _from_hex(column: pa.ChunkedArray, words: int) -> Hashes:
    digits = bytes.fromhex("".join(column.to_pylist()))
    return np.frombuffer(digits, dtype=np.uint64).reshape(-1, words)


def _fingerprints(column: pa.ChunkedArray) -> Hashes:
    """Returns a 64-bit hash of each row's scores, names and values, in any order."""
    table = column.combine_chunks()
    pairs = table.flatten()
    names, values = pairs.field("name").dictionary_encode(), pairs.field("value")
    seeds = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names.dictionary.to_pylist()]
    seed = np.frombuffer(b"".join(seeds), dtype=np.uint64)[names.indices.to_numpy()]
    mixed = _mixed(seed ^ _mixed(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).view(np.uint64)))
    ends = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    offsets = table.offsets.to_numpy() - table.offsets[0].as_py()
    return np.asarray(ends[offsets[1:]] - ends[offsets[:-1]])


def _mixed(words: Hashes) -> Hashes:
    """Returns each word well mixed (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)))


def _rows(parts: list[Hashes]) -> Hashes:
    return np.concatenate([np.empty((0, 2), dtype=np.uint64), *parts])


def _flat(parts: list[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *parts])


def _config_lines(a: Any, b: Any, above: str = "") -> list[str]:
    """Returns the keys in which two JSON values differ, each as "key: in A, in B"."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys([*a, *b]))
        return [
            line
            for key in keys
            for line in _config_lines(a.get(key), b.get(key), f"{above}.{key}".lstrip("."))
        ]
    return [] if a == b else [f"{above}: {json.dumps(a)}, {json.dumps(b)}"]


def write_list(path: Path, tables: Iterator[pa.Table]) -> int:
    """Writes the changed samples as Parquet or CSV, by the file's suffix; returns their number.

    Raises:
        UserError: another suffix.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    names = ("change", "key", "source", "in_a", "in_b")
    schema = pa.schema([(name, pa.string()) for name in names])
    count = 0
    with pyarrow.csv.CSVWriter(path, schema) if is_csv(path) else pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            count += table.num_rows
    return count


def is_csv(path: Path) -> bool:
    """Returns whether a list is to be written as CSV, and not as Parquet.

    Raises:
        UserError: neither.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"-o {path} ends in neither .csv nor .parquet")
    return path.suffix == ".csv"
