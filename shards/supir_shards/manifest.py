"""``dataset.json``: what a dataset is, how it came to be, and the hash of every file in it.

Place in the flow: a command that changed a dataset ends with ``finish_dataset``; readers use
``load_manifest``.
The law: nothing in it depends on when or where a run happened, so an interrupted and continued run gives
the same bytes. A tar's hash is taken from its index, so finishing a dataset reads no tar again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supir_shards.layout import (
    CAPTIONS,
    FORMAT_VERSION,
    INDEX,
    LEDGER,
    MANIFEST,
    PART_FILE,
    SCORES,
    index_path,
    part_files,
    part_of,
    require_format,
    shard_path,
)
from supir_shards.part_writer import shard_info
from supir_shards.record import DatasetError, Role
from supir_shards.storage import table_from

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_shards.storage import Store

DISTRIBUTION = "supir-stack"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileInfo(_Strict):
    """A file's size in bytes and SHA-256 in hex."""

    bytes: int
    sha256: str


class Lineage(_Strict):
    """One command that changed the dataset, with the config it ran under."""

    command: str
    config_hash: str
    config: dict[str, Any]
    package_version: str


class Totals(_Strict):
    """Counts over the dataset: ``captions`` are rows by captioner, ``shard_bytes`` the size of all tars."""

    parts: int
    num_samples: int
    samples: dict[Role, int]
    image_bytes: int
    shard_bytes: int
    captions: dict[str, int]
    ledger_rows: int


class Manifest(_Strict):
    """The content of ``dataset.json``.

    ``config`` is the latest one of the command that began the dataset; ``sha256`` is that of this file with
    the field empty.
    """

    format_version: int
    package_version: str
    config: dict[str, Any]
    config_hash: str
    lineage: list[Lineage]
    totals: Totals
    files: dict[Annotated[str, Field(pattern=PART_FILE)], FileInfo]
    sha256: str = ""


def load_manifest(store: Store) -> Manifest:
    """The dataset's manifest.

    Raises:
        DatasetError: there is none, it is damaged, or a newer release wrote it.
    """
    try:
        data = store.read(MANIFEST)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{store.url} holds no finished dataset: {MANIFEST} is missing; run the command that makes it"
        ) from error
    try:
        content = json.loads(data)
        if isinstance(content, dict):
            require_format(store.url, content.get("format_version", FORMAT_VERSION))
        return Manifest.model_validate(content)
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"{store.url}/{MANIFEST} is damaged ({reason}); restore it, or delete it and rerun all commands"
        ) from error


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
    old = load_manifest(store).lineage if store.exists(MANIFEST) else []
    entry = Lineage(
        command=command, config_hash=config_hash, config=config, package_version=package_version()
    )
    lineage = _with_entry(old, entry)
    origin = next(step for step in reversed(lineage) if step.command == lineage[0].command)
    totals, files = scan(store)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        package_version=package_version(),
        config=origin.config,
        config_hash=origin.config_hash,
        lineage=lineage,
        totals=totals,
        files=files,
    )
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(manifest_bytes(manifest)).hexdigest()})
    store.write(MANIFEST, manifest_bytes(manifest))
    return manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of ``dataset.json`` for a manifest."""
    content = manifest.model_dump(mode="json")
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def scan(store: Store) -> tuple[Totals, dict[str, FileInfo]]:
    """Totals, and the size and hash of every file; a tar's come from its index, no tar is opened."""
    files: dict[str, FileInfo] = {}
    samples: Counter[Role] = Counter()
    captions: Counter[str] = Counter()
    image_bytes = shard_bytes = ledger_rows = 0
    indexes = part_files(store.list(INDEX))
    for path in indexes:
        part = part_of(path)
        files[path], index = _read(store, path)
        info = shard_info(part, index)
        samples.update(Role(role) for role in index.column("role").to_pylist())
        image_bytes += sum(index.column("bytes").to_pylist())
        shard_bytes += info.shard_bytes
        if info.num_samples:
            _require_shard(store, part, info.shard_bytes)
            files[shard_path(part)] = FileInfo(bytes=info.shard_bytes, sha256=info.shard_sha256)
    for path in part_files(store.list(CAPTIONS)):
        files[path], table = _read(store, path)
        captions[path.split("/")[1]] += table.num_rows
    for path in part_files(store.list(SCORES)):
        files[path], _ = _read(store, path)
    for path in part_files(store.list(LEDGER)):
        files[path], table = _read(store, path)
        ledger_rows += table.num_rows
    totals = Totals(
        parts=len(indexes),
        num_samples=samples.total(),
        samples=dict(sorted(samples.items())),
        image_bytes=image_bytes,
        shard_bytes=shard_bytes,
        captions=dict(sorted(captions.items())),
        ledger_rows=ledger_rows,
    )
    return totals, dict(sorted(files.items()))


def file_info(data: bytes) -> FileInfo:
    """A file's size and hash from its content."""
    return FileInfo(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def package_version() -> str:
    """The version of the installed distribution, "0+source" where the code runs without being installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+source"


def _read(store: Store, path: str) -> tuple[FileInfo, pa.Table]:
    data = store.read(path)
    return file_info(data), table_from(data, f"{store.url}/{path}")


def _require_shard(store: Store, part: str, expected_bytes: int) -> None:
    path = shard_path(part)
    found = store.size(path) if store.exists(path) else None
    if found != expected_bytes:
        state = "missing" if found is None else f"{found} bytes long"
        raise DatasetError(
            f"{store.url}/{path} is {state} but its index says {expected_bytes} bytes;"
            f" delete {index_path(part)} and run the command again"
        )


def _with_entry(lineage: list[Lineage], entry: Lineage) -> list[Lineage]:
    same = [step.command == entry.command and step.config_hash == entry.config_hash for step in lineage]
    if any(same):
        return [entry if is_same else step for step, is_same in zip(lineage, same, strict=True)]
    return [*lineage, entry]
