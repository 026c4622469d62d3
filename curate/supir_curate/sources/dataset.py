"""A dataset of ours as a source: its samples, with all that is known of them, one part of it a part of the new one.

Place in the flow: `listing` and `plan` list here, `score`, `packing.carry` and `select` ask what a sample brings along.
The law: a sample stays what it is: key, stored bytes, role, source, licence, text, origin, texture map, captions. The
index tells it all, so listing reads no tar; a part's samples come in their order, and a part without samples is passed
over. A folder `shards` of a dataset stands for the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import listing
from supir_shards import MANIFEST, Dataset, DatasetError, Store, part_of, shard_path
from supir_shards.layout import SHARDS

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_COLUMNS = ("key", "source_key")
"""What a list of samples holds besides the columns of every list."""


def dataset_at(place: str) -> str | None:
    """Returns the place of the dataset that a source is, None if it is none.

    Args:
        place: absolute path or fsspec URL; the dataset, or its folder of shards.
    """
    parent, _, name = place.rstrip("/").rpartition("/")
    places = [place.rstrip("/"), *([parent] if name == SHARDS else [])]
    for one in places:
        try:
            store = Store(one)
            if store.exists(MANIFEST) and store.exists("index"):
                return one
        except (OSError, DatasetError):
            return None  # the listing says what is wrong with it
    return None


def list_dataset(place: str, config: SourceConfig) -> Iterator[pa.Table]:
    """Yields the samples of each part that has any, as a listing with `SAMPLE_COLUMNS`.

    Args:
        place: of the dataset.
        config: its licence is that of samples that name none.

    Raises:
        UserError: the dataset is unfinished or damaged, or of another format.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        dataset = Dataset(place)
        dataset.manifest  # noqa: B018  # what is not finished is no source
        indexes = ((part, dataset.index(part)) for part in dataset.parts())
        for part, index in indexes:
            if not index.num_rows:
                continue
            path = shard_path(part)
            names = [f"{path}/{row['key']}.{row['extension']}" for row in _rows(index, "key", "extension")]
            columns = {name: index.column(name).combine_chunks() for name in index.column_names}
            is_told = pc.not_equal(columns["source"], "")
            has_licence = pc.not_equal(columns["licence"], "")
            table = listing(
                config,
                index.num_rows,
                url=pc.if_else(is_told, columns["source"], pa.array(names, pa.string())),
                text=columns["text"],
                licence=pc.if_else(has_licence, columns["licence"], config.licence),
                file=path,
                offset=columns["offset"],
                size=columns["bytes"],
                role=columns["role"],
            )
            for name in SAMPLE_COLUMNS:
                table = table.append_column(name, columns[name])
            yield table
    except DatasetError as error:
        raise UserError(str(error)) from error


def source_part(file: str) -> str:
    """Returns the part of the source dataset that a listed sample lies in."""
    return part_of(file)


def _rows(index: pa.Table, *names: str) -> list[dict[str, Any]]:
    return list(index.select(list(names)).to_pylist())
