"""Captions of pictures in hand, by a dataset's engines, questions and checks; of what is unfit, the reason.

Place in the flow: `supir-infer --captioner` asks here about the cleaned picture before it is restored. The law: one
text or one reason for each picture, in their order; a text that a check calls unfit never becomes a prompt. What is
unfit is settled as in a batch (`fallback.Settling`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from supir_caption.ahead import Ahead
from supir_caption.assemble import captions_of
from supir_caption.clip_tokens import clip_token_counter
from supir_caption.engines import load_engine, load_fallback
from supir_caption.fallback import Settling
from supir_caption.fitness import NO_CAPTION
from supir_caption.picture import Picture, Prepared

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig
    from supir_caption.picture import Described, Engine


@dataclass(frozen=True, slots=True)
class Said:
    """What a captioner said about a picture.

    Attributes:
        text: at most `short_tokens` of each of SDXL's tokenizers; "" where it abstains.
        dense: the whole answer; where it abstains, the last one of the engine that was asked first.
        checks: what was found in it, by check; `answered_by` where it is the fallback engine's.
        abstains: why there is no text, "" where there is.
        model: who answered.
        prompt: which questions were asked.
    """

    text: str
    dense: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    abstains: str = ""
    model: str = ""
    prompt: str = ""


class InlineCaptioner:
    """Captions whole pictures with the engine of a config, and with its fallback engine where that one's are unfit.

    Args:
        config: the captioner; regions play no part.
        num_gpus: GPUs that this process may use.

    Raises:
        UserError: the engine cannot be loaded.
    """

    def __init__(self, config: CaptionConfig, num_gpus: int = 0) -> None:
        self._config = config.model_copy(update={"fit": config.fit.for_prompts()})
        self._engine = load_engine(self._config, num_gpus)
        self._short_tokens = config.short_tokens
        self._count = clip_token_counter()

    @cached_property
    def _second_engine(self) -> Engine | None:
        return load_fallback(self._config)

    def describe(self, images: Sequence[Image]) -> list[Said]:
        """Returns what is said about each picture (RGB, any size), in their order; it depends on no other picture.

        Raises:
            UserError: the engine answers nobody, or the fallback engine is needed and cannot be loaded.
        """
        said: dict[str, Said] = {}
        keys = [_key(image) for image in images]  # seeds of sampling are made of it
        pictures = {
            key: Picture(key, np.asarray(image.convert("RGB")), ((0, 0, image.width, image.height),))
            for key, image in zip(keys, images, strict=True)
        }
        prepared = Ahead(
            pictures.values(),
            lambda picture: Prepared(picture.key, picture.boxes, self._engine.prepare(picture)),
            depth=self._engine.num_ahead,
        )
        answers: dict[str, str] = {}

        def noted(described: Iterable[Described]) -> Iterator[Described]:
            for one in described:
                answers[one.picture.key] = one.descriptions[0].text if one.descriptions else ""
                yield one

        settling = Settling(self._config.fit, lambda: self._second_engine, pictures.get)
        try:
            for described in settling.settled(noted(self._engine.describe(prepared))):
                key = described.picture.key
                said[key] = self._said(described, answers[key])
        finally:
            prepared.close()
        return [said[key] for key in keys]

    def _said(self, described: Described, answer: str) -> Said:
        if described.problem:
            return Said("", abstains=described.problem, model=self._engine.model)
        caption = captions_of(
            described.picture.key,
            described.picture.boxes,
            described.descriptions,
            model=self._engine.model,
            count=self._count,
            short_tokens=self._short_tokens,
        )[0]
        abstains = caption.checks.get(NO_CAPTION, "")
        return Said(
            caption.short_text,
            dense=answer if abstains else caption.text,
            checks=caption.checks,
            abstains=abstains,
            model=caption.model,
            prompt=caption.prompt,
        )


def _key(image: Image) -> str:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:32]
