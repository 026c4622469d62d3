"""Samples out of a finished part: for takedown requests.

Place in the flow: `supir-curate remove` calls it for every part that holds one; ``finish_dataset`` must follow.
The law: after it, neither picture, metadata nor captions of a dropped sample are in the part, and every
other byte of the other samples is as before. Killed at any moment, the same call again completes it: the
tar is taken as the truth about what is left, the old index as the truth about the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from supir_shards.captions import read_captions, write_captions
from supir_shards.layout import CAPTIONS, index_path, part_files, shard_path
from supir_shards.part_writer import PartInfo, shard_info, write_part
from supir_shards.quarantine import RejectedError
from supir_shards.reader import IndexRow, record_from
from supir_shards.record import DatasetError, Sample
from supir_shards.sample_json import read_json
from supir_shards.tar_members import Limits, iter_members

if TYPE_CHECKING:
    from supir_shards.storage import Store

_REMEDY = "run verify, restore the part, then try again"


def drop_samples(store: Store, part: str, keys: Collection[str]) -> PartInfo:
    """Rewrite a part and its captions without some samples; returns what is left.

    Args:
        store: the dataset.
        part: a committed part.
        keys: samples to drop; those that the part does not hold are passed over.

    Raises:
        DatasetError: a sample that is to stay is damaged; the part is then as it was.
    """
    index = store.read_table(index_path(part))
    info = shard_info(part, index)
    rows = {row["key"]: row for row in index.to_pylist()}
    dropped = rows.keys() & set(keys)
    _drop_captions(store, part, set(keys))
    return write_part(store, part, _remaining(store, part, rows, dropped)) if dropped else info


def _drop_captions(store: Store, part: str, keys: set[str]) -> None:
    for path in part_files(store.list(CAPTIONS, f"{part}.parquet")):
        name = path.split("/")[1]
        by_key = read_captions(store, name, part)
        if by_key.keys() & keys:
            kept = [captions for key, captions in by_key.items() if key not in keys]
            write_captions(store, name, part, (caption for captions in kept for caption in captions))


def _remaining(store: Store, part: str, rows: dict[str, IndexRow], dropped: set[str]) -> Iterator[Sample]:
    """The samples that stay, in the tar's order."""
    path = shard_path(part)
    missing = rows.keys() - dropped
    if store.exists(path):
        tar_bytes = store.size(path)
        with store.open(path) as stream:
            image = b""
            for member in iter_members(stream, Limits(max_member_bytes=tar_bytes, max_json_bytes=tar_bytes)):
                if isinstance(member, RejectedError) or member.fault:
                    raise DatasetError(f"{store.url}/{path} is damaged; {_REMEDY}")
                key, _, extension = member.name.partition(".")
                if extension != "json":
                    image = member.data
                elif key in missing:
                    missing.discard(key)
                    yield _sample(f"{store.url}/{path}", part, rows[key], image, member.data)
    if missing:
        raise DatasetError(f"{store.url}/{path} lacks sample {min(missing)}; {_REMEDY}")


def _sample(name: str, part: str, row: IndexRow, image: bytes, metadata: bytes) -> Sample:
    if hashlib.sha256(image).hexdigest() != row["sha256"]:
        raise DatasetError(f"{name}: sample {row['key']} was altered; {_REMEDY}")
    try:
        return record_from(part, row, (image, read_json(metadata)), [])
    except RejectedError as error:
        raise DatasetError(f"{name}: sample {row['key']}: {error.detail}; {_REMEDY}") from error
