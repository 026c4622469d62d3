"""One decoded sample on its way to an engine, and what an engine gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from supir_caption.config import RegionConfig
from supir_caption.regions import region_boxes
from supir_images import decode, opaque
from supir_images.orientation import turned
from supir_shards import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from PIL.Image import Image

    from supir_caption.ahead import Ahead


@dataclass(frozen=True, slots=True)
class Picture:
    """A sample's pixels and the places to describe.

    Attributes:
        key: the sample's key.
        rgb: uint8 (H, W, 3), sRGB, upright; a view, its rows need not lie in order.
        boxes: the places in px, the whole picture first.
        role: photo, face or negative.
        metadata: what a question may quote of the sample: `alt_text`, `source`, `licence`.
    """

    key: str
    rgb: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    role: str = "photo"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def crop(self, box: Box) -> Image:
        """Returns a place as Pillow has it; only its pixels are copied."""
        from PIL import Image

        x0, y0, x1, y1 = box
        return Image.fromarray(np.ascontiguousarray(self.rgb[y0:y1, x0:x1]))


@dataclass(frozen=True, slots=True)
class Tokens:
    """What answers cost: tokens of the prompts, pictures included, and of the answers."""

    prompt: int = 0
    answer: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.answer + other.answer)


NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class Description:
    """An engine's text for one place, one paragraph, and what the engine has to say about it.

    Attributes:
        text: the dense text.
        checks: the engine's own, such as `finish_reason`.
        short: the answer to a second question, in few words; "" where none was asked.
        prompt: which questions were asked, "" if none.
        model: who answered, "" for the engine that was asked first.
    """

    text: str
    checks: dict[str, str] = field(default_factory=dict)
    short: str = ""
    prompt: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture after the CPU half of the engine's work; its pixels are no longer held but by `work`."""

    key: str
    boxes: tuple[Box, ...]
    work: Any


@dataclass(frozen=True, slots=True)
class Described:
    """What became of a picture: a description for each of its boxes, or the `problem` why there are none."""

    picture: Prepared
    descriptions: tuple[Description, ...]
    tokens: Tokens = NO_TOKENS
    problem: str = ""


class Engine(Protocol):
    """What turns pictures into text: `tags_engine.TagsEngine`, and `asking.AskingEngine` with any model.

    Attributes:
        model: what the captions are signed with.
        num_ahead: pictures that are prepared before it asks for them; each is held whole until then.
    """

    model: str
    num_ahead: int

    def prepare(self, picture: Picture) -> Any:
        """Returns what `describe` needs of a picture; CPU work that may run beside `describe` in threads."""

    def describe(self, pictures: Ahead[Prepared]) -> Iterator[Described]:
        """Yields each picture once, as it is done, in any order."""


def read_picture(
    key: str,
    data: bytes,
    config: RegionConfig,
    *,
    role: str = "photo",
    metadata: Mapping[str, str] | None = None,
) -> Picture:
    """Returns the decoded picture with its regions.

    Args:
        key: the sample's key.
        data: the stored bytes.
        config: the grid of regions.
        role: of the sample.
        metadata: of the sample, see `Picture`.

    Raises:
        BadImage: the bytes are damaged, of no known format, or decode to too many pixels.
    """
    stored = decode(data)
    rgb = turned(opaque(stored), stored.header.orientation)  # a view: turned pixels would be a second copy
    height, width = rgb.shape[:2]
    return Picture(key, rgb, tuple(region_boxes(width, height, config)), role, metadata or {})
