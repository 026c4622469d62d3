"""The end of every command that changed a dataset: ``dataset.json`` written from the files that are there.

Place in the flow: commands call ``finish_dataset`` last.
The law: a file that the manifest knows, of the size it had and put there before the manifest was, is not read again; so
adding to a large dataset reads what was added. A tar's hash is taken from its index, no tar is ever read. An altered
file that bears an older time than the manifest (a restored backup) is found by ``verify``, not here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from supir_shards.layout import (
    CAPTIONS,
    FORMAT_VERSION,
    INDEX,
    LEDGER,
    MANIFEST,
    SCORES,
    index_path,
    part_files,
    part_of,
    shard_path,
)
from supir_shards.manifest import (
    FileInfo,
    Lineage,
    Manifest,
    PartCounts,
    Totals,
    file_info,
    load_manifest,
    manifest_bytes,
    package_version,
)
from supir_shards.part_writer import shard_info
from supir_shards.record import DatasetError, Role
from supir_shards.storage import table_from

if TYPE_CHECKING:
    from supir_shards.storage import Store

TABLES = (INDEX, CAPTIONS, SCORES, LEDGER)


def finish_dataset(store: Store, *, command: str, config: dict[str, Any], config_hash: str) -> Manifest:
    """Write ``dataset.json`` from the files that are there, and return it.

    Args:
        store: the dataset.
        command: the command that just ran, without its arguments, e.g. ``supir-caption``.
        config: its resolved config, JSON values only.
        config_hash: the config's hash; a command with the same hash keeps its one lineage entry.

    Raises:
        DatasetError: a tar is missing or has not the size that its index states.
    """
    old = load_manifest(store) if store.exists(MANIFEST) else None
    entry = Lineage(
        command=command, config_hash=config_hash, config=config, package_version=package_version()
    )
    lineage = _with_entry(old.lineage if old else [], entry)
    origin = next(step for step in reversed(lineage) if step.command == lineage[0].command)
    parts, files = _Scan(store, old).result()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        package_version=package_version(),
        config=origin.config,
        config_hash=origin.config_hash,
        lineage=lineage,
        totals=_totals(parts, files),
        parts=parts,
        files=files,
    )
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(manifest_bytes(manifest)).hexdigest()})
    store.write(MANIFEST, manifest_bytes(manifest))
    return manifest


class _Scan:
    """One look at all files of a dataset.

    Args:
        store: the dataset.
        old: what is known of it from before.
    """

    def __init__(self, store: Store, old: Manifest | None) -> None:
        self._store, self._old = store, old
        self._states = store.states()
        self._files: dict[str, FileInfo] = {}
        self._counts: dict[str, dict[str, Any]] = {}

    def result(self) -> tuple[dict[str, PartCounts], dict[str, FileInfo]]:
        """The counts of every part that has an index or a ledger, and the size and hash of every file."""
        for path in part_files(
            path for path in self._states if path.startswith(tuple(f"{t}/" for t in TABLES))
        ):
            folder, part = path.split("/")[0], part_of(path)
            counts = self._counts.setdefault(part, {"captions": {}})
            known = self._known(path, part)
            if known is not None and self._old is not None:
                self._files[path] = self._old.files[path]
            if folder == INDEX:
                self._index(path, part, known)
            elif folder == CAPTIONS:
                name = path.split("/")[1]
                counts["captions"][name] = known.captions[name] if known else self._rows(path)
            elif folder == LEDGER:
                counts["ledger_rows"] = known.ledger_rows if known else self._rows(path)
            elif not known:
                self._files[path] = file_info(self._store.read(path))
        counted = {part: PartCounts(**counts) for part, counts in sorted(self._counts.items())}
        return counted, dict(sorted(self._files.items()))

    def _known(self, path: str, part: str) -> PartCounts | None:
        """What the manifest says of the part, if its word on this file still holds."""
        if self._old is None or path not in self._old.files:
            return None
        state, written = self._states[path], self._states[MANIFEST].changed
        is_older = state.changed is not None and written is not None and state.changed < written
        is_same = is_older and state.size == self._old.files[path].bytes
        return self._old.parts[part] if is_same else None

    def _index(self, path: str, part: str, known: PartCounts | None) -> None:
        tar = shard_path(part)
        if known is not None and self._old is not None:
            found = self._old.files.get(tar)
            counted: dict[str, Any] = {"samples": known.samples, "image_bytes": known.image_bytes}
        else:
            data = self._store.read(path)
            self._files[path] = file_info(data)
            index = table_from(data, f"{self._store.url}/{path}")
            info = shard_info(part, index)
            found = FileInfo(bytes=info.shard_bytes, sha256=info.shard_sha256) if info.num_samples else None
            roles = Counter(Role(role) for role in index.column("role").to_pylist())
            counted = {"samples": dict(sorted(roles.items()))}
            counted["image_bytes"] = sum(index.column("bytes").to_pylist())
        self._counts[part] |= counted
        if found:
            self._require_tar(tar, part, found.bytes)
            self._files[tar] = found

    def _rows(self, path: str) -> int:
        data = self._store.read(path)
        self._files[path] = file_info(data)
        return int(table_from(data, f"{self._store.url}/{path}").num_rows)

    def _require_tar(self, path: str, part: str, expected_bytes: int) -> None:
        found = self._states[path].size if path in self._states else None
        if found != expected_bytes:
            state = "missing" if found is None else f"{found} bytes long"
            raise DatasetError(
                f"{self._store.url}/{path} is {state} but its index says {expected_bytes} bytes;"
                f" delete {index_path(part)} and run the command again"
            )


def _totals(parts: dict[str, PartCounts], files: dict[str, FileInfo]) -> Totals:
    samples: Counter[Role] = Counter()
    captions: Counter[str] = Counter()
    for counts in parts.values():
        samples.update(counts.samples)
        captions.update(counts.captions)
    return Totals(
        parts=sum(path.startswith(f"{INDEX}/") for path in files),
        num_samples=samples.total(),
        samples=dict(sorted(samples.items())),
        image_bytes=sum(counts.image_bytes for counts in parts.values()),
        shard_bytes=sum(info.bytes for path, info in files.items() if path.endswith(".tar")),
        captions=dict(sorted(captions.items())),
        ledger_rows=sum(counts.ledger_rows for counts in parts.values()),
    )


def _with_entry(lineage: list[Lineage], entry: Lineage) -> list[Lineage]:
    same = [step.command == entry.command and step.config_hash == entry.config_hash for step in lineage]
    if any(same):
        return [entry if is_same else step for step, is_same in zip(lineage, same, strict=True)]
    return [*lineage, entry]
