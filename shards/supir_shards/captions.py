"""Captions beside the tars: one Parquet file a captioner and part.

Place in the flow: ``supir-caption`` writes them, the trainer reads them.
The law: captions never touch a tar; captioners stand side by side under their names. Rows are sorted by key
and region, so that the order in which a batch engine finished does not change the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from supir_shards.layout import CAPTIONS, caption_path
from supir_shards.record import Caption, DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_shards.storage import Store


def write_captions(store: Store, name: str, part: str, captions: Iterable[Caption]) -> int:
    """Write a part's captions in one visible step; returns their number.

    Raises:
        DatasetError: a region of a sample came twice, or a box is empty.
    """
    import pyarrow as pa

    from supir_shards.schema import CAPTION_SCHEMA

    rows = [_row(caption) for caption in sorted(captions, key=lambda caption: (caption.key, caption.region))]
    for before, after in pairwise(rows):
        if (before["key"], before["region"]) == (after["key"], after["region"]):
            raise DatasetError(f"the caption of sample {after['key']}, region {after['region']} came twice")
    store.write_table(caption_path(name, part), pa.Table.from_pylist(rows, schema=CAPTION_SCHEMA))
    return len(rows)


def read_captions(store: Store, name: str, part: str) -> dict[str, list[Caption]]:
    """A part's captions by sample key, each list in the order of its regions.

    Raises:
        DatasetError: the part has no captions under that name.
    """
    path = caption_path(name, part)
    if not store.exists(path):
        others = [other for other in store.folders(CAPTIONS) if other != name]
        has = f"; it has {', '.join(others)}" if others else ""
        raise DatasetError(
            f"{store.url} has no captions {name!r} for {part}{has}; make them with supir-caption"
        )
    by_key: dict[str, list[Caption]] = {}
    for caption in captions_from(store.read_table(path), f"{store.url}/{path}"):
        by_key.setdefault(caption.key, []).append(caption)
    return by_key


def captions_from(table: pa.Table, name: str) -> list[Caption]:
    """The captions in a table, in its order.

    Raises:
        DatasetError: it is not a table of captions; ``name`` says which file it was.
    """
    from supir_shards.schema import CAPTION_SCHEMA

    if list(table.schema)[: len(CAPTION_SCHEMA)] != list(CAPTION_SCHEMA):
        columns = table.schema.names
        raise DatasetError(f"{name} is not a caption file of this format (columns {columns}); run verify")
    return [_caption(row) for row in table.select(CAPTION_SCHEMA.names).to_pylist()]


def _row(caption: Caption) -> dict[str, Any]:
    from supir_shards.schema import pairs_of

    x0, y0, x1, y1 = caption.box
    if not (0 <= x0 < x1 and 0 <= y0 < y1) or caption.region < 0:
        raise DatasetError(
            f"caption of sample {caption.key}: region {caption.region} with box {caption.box} is not one;"
            " a box is x0, y0, x1, y1 with 0 <= x0 < x1 and 0 <= y0 < y1"
        )
    return {
        "key": caption.key,
        "region": caption.region,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "text": caption.text,
        "short_text": caption.short_text,
        "num_tokens_clip_l": caption.num_tokens_clip_l,
        "num_tokens_clip_g": caption.num_tokens_clip_g,
        "checks": pairs_of(caption.checks),
        "model": caption.model,
        "prompt": caption.prompt,
    }


def _caption(row: dict[str, Any]) -> Caption:
    from supir_shards.schema import named

    box = (row.pop("x0"), row.pop("y0"), row.pop("x1"), row.pop("y1"))
    return Caption(box=box, checks=named(row.pop("checks")), **row)
