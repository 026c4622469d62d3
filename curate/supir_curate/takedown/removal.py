"""Which candidates and samples a takedown means: by URL, path, key or SHA-256.

Place in the flow: `remove` searches here, then `purge` deletes. The law: a picture is its bytes and its URL, so
whatever shares either with a match is meant too, until nothing is added; pictures that merely look alike are named, for
the user to decide. Every dataset is searched: one without ledger (negatives, pairs) by its index. With a photo goes all
that was made from it, its crops, negatives and pairs (`source_key`); with a crop, its negatives and pairs alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.selection.select import selection_path
from supir_curate.tombstones import REMOVED_URL, digest, read_tombstones
from supir_curate.verdict import Reason
from supir_shards import Dataset, Record, Role, Store, index_path, ledger_path, load_manifest, part_of
from supir_shards.record import KEY_LENGTH

if TYPE_CHECKING:
    import pyarrow as pa

LINES = "redirects"  # the one column of several names, one a line
LEDGER_NAMES = ("url", "final_url", LINES, "sha256", "key")
INDEX_NAMES = ("key", "source", "sha256", "source_key")


@dataclass(slots=True)
class Found:
    """What a takedown means.

    Args:
        digests: of every name that it goes by.
        names: those names: URLs, keys, hex SHA-256.
        candidates: rows of the ledger.
        samples: keys in the shards.
        unknown: targets that are not in the dataset, and were not removed from it before.
        twins: pictures that look like it and stay: key, state, URL.
    """

    digests: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    candidates: int = 0
    samples: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    twins: list[dict[str, str]] = field(default_factory=list)


def read_targets(
    urls: Sequence[str], sha256: Sequence[str], keys: Sequence[str], lists: Sequence[Path]
) -> list[str]:
    """Returns what is to be removed, each once.

    Args:
        urls: URLs, or paths below the source folder as the ledger has them.
        sha256: of original or stored bytes, 64 hex digits.
        keys: of pictures or samples, 32 hex digits.
        lists: files with one of these a line; empty lines and lines that begin with # are passed over.

    Raises:
        UserError: nothing was named, a hash or key is none, or a file cannot be read.
    """
    targets = [
        *urls,
        *(_hex(text, 64, "--sha256") for text in sha256),
        *(_hex(text, 32, "--key") for text in keys),
    ]
    for path in lists:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--list {path} cannot be read as text: {error}") from error
        targets += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not targets:
        raise UserError("nothing to remove; name it with --url, --sha256, --key or --list FILE")
    return list(dict.fromkeys(targets))


def find(store: Store, targets: Sequence[str]) -> Found:
    """Returns what the targets mean in a dataset.

    Args:
        store: the dataset.
        targets: URLs, paths, keys, hex SHA-256.

    Raises:
        UserError: none of them is there or was removed before.
    """
    wanted = {form for target in targets for form in _forms(target)}
    found, seen, rows, samples = Found(), set[str](), list[dict[str, Any]](), list[dict[str, Any]]()
    while len(wanted) > len(found.names):
        found.names = set(wanted)
        rows = list(_matches(store, ledger_path, LEDGER_NAMES, wanted))
        samples = list(_matches(store, index_path, INDEX_NAMES, wanted))
        wanted |= {name for row in rows for name in _further_names(row, wanted)}
        wanted |= {name for row in samples for name in _further_names_of_sample(row, wanted)}
        wanted |= _made_from(store, wanted)
    for row in (*rows, *samples):
        seen.update(_names(row))
    seen |= _parents(store, wanted)
    found.candidates, found.samples = len(rows), [row["key"] for row in samples]
    found.digests = set(map(digest, wanted))
    buried = read_tombstones(store)
    found.unknown = [
        target
        for target in targets
        if not any(form in seen or digest(form) in buried for form in _forms(target))
    ]
    if len(found.unknown) == len(targets):
        first = targets[0]
        raise UserError(
            f"{store.url} holds nothing that goes by {first}{_and_others(targets)}; nothing was removed"
        )
    found.names = wanted - set(found.unknown)
    found.twins = _twins(store, found.names)
    return found


def matching_rows(table: pa.Table, names: Iterable[str], digests: Iterable[str]) -> NDArray[np.int64]:
    """Returns the places of the rows that go by one of the digests.

    Args:
        table: with the columns `names`.
        names: of text columns; a text of several lines matches by each.
        digests: as `tombstones.digest` makes them.
    """
    wanted = digests if isinstance(digests, set | frozenset) else set(digests)
    places: set[int] = set()
    for name in names:
        for place, text in enumerate(table.column(name).to_pylist()):
            if text and any(digest(line) in wanted for line in text.split("\n")):
                places.add(place)
    return np.array(sorted(places), dtype=np.int64)


def _matches(store: Store, path_of: Any, columns: Sequence[str], names: set[str]) -> Iterator[dict[str, Any]]:
    """Yields the rows of all parts that go by one of the names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folder, wanted = path_of("part-000000").partition("/")[0], pa.array(sorted(names))
    for path in store.list(folder, ".parquet"):
        table = store.read_table(path_of(part_of(path)), columns)
        is_named = np.zeros(table.num_rows, dtype=bool)
        for name in columns:
            texts = table.column(name)
            if name == LINES and texts.null_count < len(texts):
                is_named |= [
                    text is not None and not names.isdisjoint(text.split("\n")) for text in texts.to_pylist()
                ]
            elif name != LINES:
                is_named |= pc.is_in(texts, value_set=wanted).to_numpy()
        if is_named.any():
            yield from table.filter(is_named).to_pylist()


def _names(row: dict[str, Any]) -> list[str]:
    return [line for text in row.values() if text and text != REMOVED_URL for line in text.split("\n")]


def _forms(target: str) -> list[str]:
    """Returns how a target may stand in a dataset; the SHA-256 of an original begins with its photo's key."""
    return [target, target[:KEY_LENGTH]] if re.fullmatch("[0-9a-f]{64}", target) else [target]


def _further_names(row: dict[str, Any], wanted: set[str]) -> list[str]:
    """Returns the names that a candidate goes by; of a crop that is meant by its own key, not those of its photo."""
    is_crop = row["key"] and not (row["sha256"] or "").startswith(row["key"])
    meant = {name for name in LEDGER_NAMES if wanted.intersection((row[name] or "").split("\n"))}
    names = ("sha256", "key") if is_crop and meant <= {"key", "sha256"} else ("url", "sha256", "key")
    return [row[name] for name in names if row[name] and row[name] != REMOVED_URL]


def _further_names_of_sample(row: dict[str, Any], wanted: set[str]) -> list[str]:
    """Returns the names that a sample goes by; those of its photo too where the photo is meant."""
    is_photo_meant = row["source_key"] in wanted or row["source"] in wanted
    names = INDEX_NAMES if is_photo_meant else ("key", "sha256")
    return [row[name] for name in names if row[name]]


def _made_from(store: Store, keys: set[str]) -> set[str]:
    """Returns the keys of the negatives that were made from one of the samples; only their KEY.json says so."""
    return {record.key for record in _negatives(store) if record.origin.parent_key in keys}


def _parents(store: Store, keys: set[str]) -> set[str]:
    return {record.origin.parent_key for record in _negatives(store)} & keys


def _negatives(store: Store) -> Iterator[Record]:
    if load_manifest(store).totals.samples.get(Role.NEGATIVE):
        for record in Dataset(store).samples(on_bad=lambda _: None):
            if record.role is Role.NEGATIVE:
                yield record


def _twins(store: Store, names: set[str]) -> list[dict[str, str]]:
    """Returns the pictures that were found to show the same as one of the named keys, and are not named themselves."""
    paths = store.list("selection", ".parquet")
    columns = ("key", "state", "reason", "detail")
    groups = set(names)
    for path in paths:
        for row in store.read_table(path, columns).to_pylist():
            if row["reason"] == Reason.NEAR_DUPLICATE and row["key"] in names:
                groups.add(row["detail"])
    twins = []
    for path in paths:
        part = part_of(path)
        table = store.read_table(selection_path(part), columns)
        for place, row in enumerate(table.to_pylist()):
            is_twin = row["reason"] == Reason.NEAR_DUPLICATE and row["detail"] in groups
            if row["key"] and row["key"] not in names and (is_twin or row["key"] in groups):
                url = store.read_table(ledger_path(part), ["url"]).column("url")[place].as_py()
                twins.append({"key": row["key"], "state": row["state"], "url": url})
    return twins


def _hex(text: str, length: int, option: str) -> str:
    text = text.lower()
    if len(text) != length or set(text) - set("0123456789abcdef"):
        raise UserError(f"{option} {text!r} is not {length} hex digits")
    return text


def _and_others(targets: Sequence[str]) -> str:
    return f" or the {len(targets) - 1} other names given" if len(targets) > 1 else ""
