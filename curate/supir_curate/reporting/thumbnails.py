"""Small JPEGs of the pictures that a report shows, as data URIs.

Place in the flow: `report` asks for the examples of a survey. The law: bytes come from the source folder or the spool;
a picture whose bytes are gone or damaged is simply not shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

from supir_curate.pictures.picture import BadPicture, checked_format, decode_rgb
from supir_curate.sources.originals import Original, read_originals, spool_path, spool_store
from supir_curate.sources.plan import Plan
from supir_shards import Store

SIDE_PX = 144
QUALITY = 72


def thumbnails(
    store: Store, plan: Plan, places: set[tuple[str, int]], max_bytes: int, max_pixels: int
) -> dict[tuple[str, int], str]:
    """Returns data URIs of the pictures at these places (part and source row) that can be shown.

    Args:
        store: the dataset.
        plan: its plan.
        places: what is to be shown.
        max_bytes: files above this are not read.
        max_pixels: pictures above this are not decoded.
    """
    shown = {}
    for part in sorted({part for part, _ in places}):
        rows = {row for name, row in places if name == part}
        for original in _available(store, plan, part, rows, max_bytes):
            uri = _data_uri(original.data, max_pixels)
            if uri:
                shown[part, original.row] = uri
    return shown


def _available(store: Store, plan: Plan, part: str, rows: set[int], max_bytes: int) -> Iterator[Original]:
    if plan.kind == "urls" and not spool_store(store, plan).exists(spool_path(part)):
        return
    yield from read_originals(store, plan, part, rows.__contains__, max_bytes)


def _data_uri(data: bytes, max_pixels: int) -> str | None:
    from PIL import Image

    try:
        checked_format(data, max_pixels)
        image = Image.fromarray(decode_rgb(data))
    except BadPicture:
        return None
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
