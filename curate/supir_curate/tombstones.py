"""What was taken down and must not come back, without naming it.

Place in the flow: `remove` adds to the list, `score` obeys it. The law: `removed.json` holds digests only, the SHA-256
of "removed:" and a URL, a key or the hex SHA-256 of a picture's bytes; none of these stands in it, but who knows one
can tell that it was removed. The list only grows, and is written before anything is deleted, so that a removal that was
killed is completed from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from supir_curate.sources.originals import Original
from supir_curate.sources.plan import read_state
from supir_curate.verdict import Reason
from supir_shards import Store

TOMBSTONES = "removed.json"
REMOVED_URL = "removed:"
"""Stands where the URL of a removed candidate stood: no URL that can be fetched, no path of a source."""


class Tombstones(BaseModel):
    """The content of `removed.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digests: tuple[str, ...] = ()


def digest(text: str) -> str:
    """Returns what stands in the list for a URL, a key or the hex SHA-256 of a picture."""
    return hashlib.sha256(f"removed:{text}".encode()).hexdigest()


def read_tombstones(store: Store) -> frozenset[str]:
    """Returns the digests of all that was removed.

    Raises:
        UserError: the list is damaged.
    """
    if not store.exists(TOMBSTONES):
        return frozenset()
    mend = "restore it from a copy; without it what was removed could come back"
    return frozenset(read_state(store, TOMBSTONES, Tombstones, mend).digests)


def add_tombstones(store: Store, digests: Iterable[str]) -> frozenset[str]:
    """Adds digests to the list and returns it whole."""
    standing = read_tombstones(store)
    digests = standing.union(digests)
    if digests != standing:
        content = Tombstones(digests=tuple(sorted(digests))).model_dump_json(indent=1)
        store.write(TOMBSTONES, content.encode() + b"\n")
    return digests


def is_buried(tombstones: frozenset[str], *names: str | None) -> bool:
    """Returns whether one of the names (URL, key, hex SHA-256) was removed; None names nothing."""
    return bool(tombstones) and any(name and digest(name) in tombstones for name in names)


def without_removed(original: Original, tombstones: frozenset[str]) -> Original:
    """Returns a candidate as it is, or emptied if its URL or its bytes were removed."""
    sha256 = hashlib.sha256(original.data).hexdigest() if original.data and tombstones else None
    evidence = original.evidence
    names = (original.url, evidence.final_url, *(evidence.redirects or "").split("\n"), sha256)
    if original.url == REMOVED_URL or is_buried(tombstones, *names):
        return Original(row=original.row, url=REMOVED_URL, reason=Reason.REMOVED)
    return original
