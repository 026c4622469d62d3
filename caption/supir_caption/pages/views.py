"""The pictures of a page: what a caption is about, cut out and small, as a data URI.

The law: a picture is read once for all captions of it that are shown; one that is gone or damaged is not shown, and
its caption is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from supir_caption.pages.tally import Example
from supir_images import BadImage, decode_rgb
from supir_shards import Box, Dataset, DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = 360
QUALITY = 78

Place = tuple[str, Box]
"""A sample's key and a box of it in px."""


def thumbnails(dataset: Dataset, examples: Iterable[Example]) -> dict[Place, str]:
    """Returns small pictures of what the captions are about, by place.

    Args:
        dataset: that holds the pictures.
        examples: what is shown.
    """
    wanted: dict[str, dict[str, set[Box]]] = {}
    for example in examples:
        caption = example.caption
        wanted.setdefault(example.part, {}).setdefault(caption.key, set()).add(caption.box)
    shown: dict[Place, str] = {}
    for part, by_key in sorted(wanted.items()):
        for row in dataset.index(part).to_pylist():
            if row["key"] in by_key:
                shown |= _of_picture(dataset, part, row, by_key[row["key"]])
    return shown


def _of_picture(dataset: Dataset, part: str, row: dict[str, Any], boxes: set[Box]) -> dict[Place, str]:
    from PIL.Image import fromarray

    try:
        image = fromarray(decode_rgb(dataset.read_image(part, row)))
    except (BadImage, DatasetError, OSError):
        return {}
    return {(str(row["key"]), box): _uri(image.crop(box)) for box in boxes}


def _uri(image: Image) -> str:
    from PIL.Image import Resampling

    image.thumbnail((SIDE_PX, SIDE_PX), Resampling.BOX)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
