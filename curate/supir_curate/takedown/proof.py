"""Proof that nothing in a dataset goes by a removed name: every file is read.

Place in the flow: `remove` ends with it. The law: no known name stands in any file's name or text, no text, tar member
or stored picture has a name or SHA-256 whose digest is in `removed.json`, and a file that cannot be read proves
nothing. A name counts where it stands alone: `a.jpg` is not in `data.jpg`. What disks, backups and object versions keep
is not seen.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supir_curate.sources.originals import SPOOL, spool_path
from supir_curate.tombstones import TOMBSTONES, digest, read_tombstones
from supir_shards import DatasetError, Store, part_of
from supir_shards.storage import table_from

if TYPE_CHECKING:
    import pyarrow as pa

URL_CHARACTERS = rb"[0-9A-Za-z._~%/?&=#+@\-\x80-\xff]"
MAX_NAME = 8192  # characters; a longer text is no name and is only searched


@dataclass(frozen=True, slots=True)
class Proof:
    """What was read, and where a removed name still stands: "path: what"."""

    files: int
    bytes: int
    standing: tuple[str, ...]


def prove_removed(store: Store, names: Collection[str]) -> Proof:
    """Reads every file of a dataset and returns where one of the names still stands.

    Args:
        store: the dataset.
        names: URLs, keys, hex SHA-256, as far as they are known; the digests in `removed.json` are looked for too.
    """
    search = _Search(names, read_tombstones(store))
    paths = [*store.list(), *store.leftovers()]
    size, standing = 0, []
    for path in paths:
        size += store.size(path)
        try:
            found = {*search.text(path.encode()), *search.file(store, path)}
        except (DatasetError, OSError, tarfile.TarError, ValueError) as error:
            found = {f"cannot be read: {error}"}
        standing += [f"{path}: {what}" for what in sorted(found)]
    return Proof(len(paths), size, tuple(standing))


class _Search:
    """Looks for names as they are, and for digests of what may be a name."""

    def __init__(self, names: Collection[str], digests: frozenset[str]) -> None:
        self._digests = digests
        forms = {form: name for name in names for form in _spellings(name)}
        self._names = {
            re.compile(rb"(?<!%b)%b(?!%b)" % (URL_CHARACTERS, re.escape(form), URL_CHARACTERS)): name
            for form, name in forms.items()
        }
        self._plain = dict(zip(forms, self._names, strict=True))

    def file(self, store: Store, path: str) -> Iterator[str]:
        """Yields what stands in a file."""
        if path.endswith(".tar"):
            yield from self._tar(store, path)
            return
        if path.startswith(f"{SPOOL}/") and not path.endswith(".parquet"):
            yield from self._spool(store, path)
            return
        data = store.read(path)
        if path.endswith(".parquet"):
            yield from self._table(table_from(data, path))
        elif path != TOMBSTONES:
            yield from self.text(data)
            yield from self._digested(
                re.split(r"[\s\"\',()<>]+", html.unescape(data.decode("utf-8", "replace")))
            )

    def text(self, data: bytes) -> Iterator[str]:
        """Yields the known names that stand in a text."""
        for form, pattern in self._plain.items():
            if form in data and pattern.search(data):
                yield self._names[pattern]

    def _table(self, table: pa.Table) -> Iterator[str]:
        import pyarrow as pa

        for column in table.columns:
            for leaf in _leaves(column.combine_chunks()):
                values = leaf.unique()
                if pa.types.is_string(leaf.type):
                    texts = [text for text in values.to_pylist() if text]
                    yield from self.text("\n".join(texts).encode())
                    yield from self._digested([line for text in texts for line in text.split("\n")])
                elif pa.types.is_binary(leaf.type):
                    yield from self._digested(
                        [hashlib.sha256(data).hexdigest() for data in values.to_pylist() if data]
                    )

    def _spool(self, store: Store, path: str) -> Iterator[str]:
        """Yields the hashes of fetched pictures that were removed; they lie where the table beside lists them."""
        rows = store.read_table(spool_path(part_of(path)), ["offset", "size"]).to_pylist()
        with store.open(path) as stream:
            for row in rows:
                stream.seek(row["offset"])
                yield from self._digested([hashlib.sha256(stream.read(row["size"])).hexdigest()])

    def _tar(self, store: Store, path: str) -> Iterator[str]:
        with store.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                data = file.read() if file else b""
                yield from self.text(member.name.encode())
                yield from self._digested([member.name.partition(".")[0], hashlib.sha256(data).hexdigest()])
                if member.name.endswith(".json"):
                    yield from self.text(data)
                    yield from self._digested(list(_strings(json.loads(data))))

    def _digested(self, texts: Collection[str]) -> Iterator[str]:
        for text in texts:
            if text and len(text) <= MAX_NAME and digest(text) in self._digests:
                yield text


def _spellings(name: str) -> set[bytes]:
    """Returns a name as text, as HTML and as JSON write it."""
    from markupsafe import escape

    return {name.encode(), str(escape(name)).encode(), json.dumps(name)[1:-1].encode()}


def _leaves(array: Any) -> Iterator[Any]:
    """Yields the arrays of values in a column, those in lists, maps and structs too."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_map(kind):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(array.flatten())
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_large_string(kind):
        yield array.cast(pa.string())
    else:
        yield array


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split("\n")
    elif isinstance(value, dict | list):
        for child in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(child)
