"""One decoded sample on its way to an engine, and what an engine gives back.

The law: boxes in files are px of the stored picture; an engine sees the picture upright, as its EXIF
orientation says, so that a phone's sideways photo is not described as a fallen world.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from supir_caption.config import RegionConfig
from supir_caption.regions import region_boxes
from supir_shards import Box, image_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

_ORIENTATION_TAG = 0x0112


class PictureError(ValueError):
    """The stored bytes are no picture that can be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A sample's pixels and the places to describe.

    Attributes:
        key: the sample's key.
        image: upright, RGB.
        boxes: px of the stored picture, the whole picture first; what the captions file holds.
        views: the same places in px of the upright image.
    """

    key: str
    image: Image
    boxes: tuple[Box, ...]
    views: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """An engine's text for one place, one paragraph, and what the engine has to say about it."""

    text: str
    checks: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """What turns pictures into text. Two are known: `tags_engine.TagsEngine` and `vllm_engine.VllmEngine`.

    Attributes:
        model: what the captions are signed with.
        prompt: the question that was asked, "" if none.
    """

    model: str
    prompt: str

    def prepare(self, picture: Picture) -> Any:
        """Returns what `describe` needs of a picture; CPU work that may run beside `describe` in a thread."""

    def describe(self, prepared: Sequence[Any]) -> list[list[Description]]:
        """Returns, for each prepared picture, one description for each of its views, in order."""


def read_picture(key: str, data: bytes, config: RegionConfig) -> Picture:
    """Returns the decoded picture with its regions.

    Args:
        key: the sample's key.
        data: the stored bytes.
        config: the grid of regions.

    Raises:
        PictureError: the bytes are damaged, of no known format, or decode to too many pixels.
    """
    from PIL import Image

    try:
        image_size(data)
        with Image.open(io.BytesIO(data)) as stored:
            orientation = int(stored.getexif().get(_ORIENTATION_TAG, 1))
            rgb = stored.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"{type(error).__name__}: {error}") from error
    boxes = tuple(region_boxes(rgb.width, rgb.height, config))
    views = tuple(upright_box(box, rgb.width, rgb.height, orientation) for box in boxes)
    return Picture(key, _upright(rgb, orientation), boxes, views)


def upright_box(box: Box, width: int, height: int, orientation: int) -> Box:
    """Returns where a box of the stored picture lies once the picture stands upright, px.

    Args:
        box: px of the stored picture.
        width: of the stored picture, px.
        height: of the stored picture, px.
        orientation: EXIF tag 0x0112, 1 to 8; other values mean 1.
    """
    x0, y0, x1, y1 = box
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)
