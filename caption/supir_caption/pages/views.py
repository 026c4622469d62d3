"""What a caption is about, cut out of its picture: for the pages small, as a data URI.

The law: a picture is read once for all captions of it that are wanted; one that is gone or damaged is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
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


def crops(dataset: Dataset, examples: Iterable[Example]) -> Iterator[tuple[Example, Image]]:
    """Yields what each caption is about, cut out of its picture; nothing for a picture that cannot be read.

    Args:
        dataset: that holds the pictures.
        examples: captions; they come in the order of their parts and pictures.
    """
    wanted: dict[str, dict[str, list[Example]]] = {}
    for example in examples:
        wanted.setdefault(example.part, {}).setdefault(example.caption.key, []).append(example)
    for part, by_key in sorted(wanted.items()):
        for row in dataset.index(part).to_pylist():
            of_picture = by_key.get(row["key"], [])
            image = _read(dataset, part, row) if of_picture else None
            if image is not None:
                for example in of_picture:
                    yield example, image.crop(example.caption.box)


def thumbnails(dataset: Dataset, examples: Iterable[Example]) -> dict[Place, str]:
    """Returns small pictures of what the captions are about, by place; without those that cannot be read.

    Args:
        dataset: that holds the pictures.
        examples: what is shown.
    """
    by_place = {(example.caption.key, example.caption.box): example for example in examples}
    return {
        (example.caption.key, example.caption.box): _uri(image)
        for example, image in crops(dataset, by_place.values())
    }


def _read(dataset: Dataset, part: str, row: dict[str, Any]) -> Image | None:
    from PIL.Image import fromarray

    try:
        return fromarray(decode_rgb(dataset.read_image(part, row)))
    except (BadImage, DatasetError, OSError):
        return None


def _uri(image: Image) -> str:
    from PIL.Image import Resampling

    image.thumbnail((SIDE_PX, SIDE_PX), Resampling.BOX)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
