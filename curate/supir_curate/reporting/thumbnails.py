"""Small JPEGs of the pictures that a report shows, upright, their crops drawn, as data URIs.

Place in the flow: `report` asks for the examples of a survey. The law: bytes come from the source folder or the spool;
a picture whose bytes are gone or damaged is simply not shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from supir_curate.config import CurateConfig, PackConfig
from supir_curate.ledger import read_scores
from supir_curate.packing.pack import LAYOUT_COLUMNS, layout_of
from supir_curate.selection.select import KEPT, selection_path
from supir_curate.sources.originals import Original, read_originals, spool_path, spool_store
from supir_curate.sources.plan import Plan
from supir_images import BadImage, decode, opaque
from supir_images.orientation import upright
from supir_shards import Store

if TYPE_CHECKING:
    from PIL import Image

    from supir_curate.packing.crops import Layout

SIDE_PX = 144
QUALITY = 72
CROP_COLOUR = (42, 200, 110)


def thumbnails(
    store: Store, plan: Plan, places: set[tuple[str, int]], config: CurateConfig
) -> dict[tuple[str, int], str]:
    """Returns data URIs of the pictures at these places (part and source row) that can be shown.

    Args:
        store: the dataset, with its selection.
        plan: its plan.
        places: what is to be shown.
        config: what may be read and decoded, and how kept pictures are cut.
    """
    shown = {}
    for part in sorted({part for part, _ in places}):
        rows = {row for name, row in places if name == part}
        is_cut = plan.piece_of(part).kind != "dataset"  # whose samples are as they are
        layouts = kept_layouts(store, part, rows, config.pack) if is_cut else {}
        for original in _available(store, plan, part, rows, config.fetch.policy.max_bytes):
            uri = data_uri(original.data, layouts.get(original.row), config.probe.max_pixels)
            if uri:
                shown[part, original.row] = uri
    return shown


def kept_layouts(store: Store, part: str, rows: set[int], config: PackConfig) -> dict[int, Layout]:
    """Returns, by source row, how those of the rows that are kept will be cut; nothing where all is stored whole."""
    if config.mode == "whole":
        return {}
    selection = store.read_table(selection_path(part), ["source_row", "state"]).to_pylist()
    kept = rows & {row["source_row"] for row in selection if row["state"] == KEPT}
    ledger = read_scores(store, part, ["source_row", *LAYOUT_COLUMNS]).to_pylist()
    return {row["source_row"]: layout_of(row, config) for row in ledger if row["source_row"] in kept}


def _available(store: Store, plan: Plan, part: str, rows: set[int], max_bytes: int) -> Iterator[Original]:
    if plan.piece_of(part).kind == "urls" and not spool_store(store, plan).exists(spool_path(part)):
        return
    yield from read_originals(store, plan, part, rows.__contains__, max_bytes)


def data_uri(data: bytes, layout: Layout | None, max_pixels: int) -> str | None:
    """Returns a small picture with the layout's crops framed; None if it cannot be decoded.

    Args:
        data: the original's bytes.
        layout: how it is cut, in px as stored; None frames nothing.
        max_pixels: a picture above this is not decoded.
    """
    from PIL import Image

    try:
        decoded = decode(data, max_pixels)
    except BadImage:
        return None
    image, orientation = Image.fromarray(opaque(decoded)), decoded.header.orientation
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    if layout and not layout.is_whole:
        _draw_crops(image, layout)
    sink = io.BytesIO()
    Image.fromarray(upright(np.asarray(image), orientation)).save(sink, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()


def _draw_crops(image: Image.Image, layout: Layout) -> None:
    from PIL import ImageDraw

    scale = (image.width / layout.width, image.height / layout.height)
    for box in layout.boxes:
        left, top, right, bottom = (round(edge * scale[axis % 2]) for axis, edge in enumerate(box))
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=CROP_COLOUR, width=2)
