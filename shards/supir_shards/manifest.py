"""``dataset.json``: what a dataset is, how it came to be, and the hash of every file in it.

Place in the flow: ``finishing`` writes it, readers use ``load_manifest``.
The law: nothing in it depends on when or where a run happened, so an interrupted and continued run gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supir_shards.layout import (
    FORMAT_VERSION,
    MANIFEST,
    PART,
    PART_FILE,
    require_format,
)
from supir_shards.record import DatasetError, Role

if TYPE_CHECKING:
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


class PartCounts(_Strict):
    """What one part adds to the totals; ``captions`` are rows by captioner."""

    samples: dict[Role, int] = {}
    image_bytes: int = 0
    captions: dict[str, int] = {}
    ledger_rows: int = 0


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
    parts: dict[Annotated[str, Field(pattern=f"^{PART}$")], PartCounts]
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


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of ``dataset.json`` for a manifest."""
    content = manifest.model_dump(mode="json")
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def file_info(data: bytes) -> FileInfo:
    """A file's size and hash from its content."""
    return FileInfo(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def package_version() -> str:
    """The version of the installed distribution, "0+source" where the code runs without being installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+source"
