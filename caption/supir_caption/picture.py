"""One decoded sample on its way to an engine, and what an engine gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from supir_caption.config import RegionConfig
from supir_caption.regions import region_boxes
from supir_images import decode_rgb
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
        image: RGB.
        boxes: the places in px, the whole picture first.
        role: photo, face or negative.
        metadata: what a question may quote of the sample: `alt_text`, `source`, `licence`.
    """

    key: str
    image: Image
    boxes: tuple[Box, ...]
    role: str = "photo"
    metadata: Mapping[str, str] = field(default_factory=dict)


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
    from PIL import Image

    rgb = Image.fromarray(decode_rgb(data))
    return Picture(key, rgb, tuple(region_boxes(rgb.width, rgb.height, config)), role, metadata or {})
