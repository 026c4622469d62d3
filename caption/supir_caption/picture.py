"""One decoded sample on its way to an engine, and what an engine gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from supir_caption.config import RegionConfig
from supir_caption.regions import region_boxes
from supir_images import decode_rgb
from supir_shards import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Picture:
    """A sample's pixels and the places to describe.

    Attributes:
        key: the sample's key.
        image: RGB.
        boxes: the places in px, the whole picture first.
    """

    key: str
    image: Image
    boxes: tuple[Box, ...]


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
        """Returns, for each prepared picture, one description for each of its boxes, in order."""


def read_picture(key: str, data: bytes, config: RegionConfig) -> Picture:
    """Returns the decoded picture with its regions.

    Args:
        key: the sample's key.
        data: the stored bytes.
        config: the grid of regions.

    Raises:
        BadImage: the bytes are damaged, of no known format, or decode to too many pixels.
    """
    from PIL import Image

    rgb = Image.fromarray(decode_rgb(data))
    return Picture(key, rgb, tuple(region_boxes(rgb.width, rgb.height, config)))
