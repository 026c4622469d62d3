"""The words that a crop is trained with: which caption, whether it names a side, and what a negative was made with.

Place in the flow: `crop_maker.py` asks for each crop, with the generator of its sample.
The law it keeps: a prompt is true of the pixels that it goes with. A caption that says left or right is not mirrored,
and a negative is told the words that it was drawn under.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from supir_console import Config
from supir_model.prompts import NEGATIVE_PROMPT, positive_prompt
from supir_shards import Box, Caption, caption_for

SIDE = re.compile(r"(?<![a-z])(left|right)(s|y|most|wards?|hand|handed|hander|side)?(?![a-z])", re.IGNORECASE)


class CaptionWeights(Config):
    """How often each kind of caption is a photo's prompt: shares of the sum of the weights."""

    region: float = Field(
        default=0.9,
        ge=0,
        description="Long text of the region that covers the crop best; of the whole picture where none covers half.",
    )
    long: float = Field(
        default=0.0, ge=0, description="Long text of the whole picture, whatever the crop shows."
    )
    short: float = Field(
        default=0.0, ge=0, description="Short text (CLIP's 77 tokens) of what region would describe."
    )
    empty: float = Field(
        default=0.1, ge=0, description="The empty prompt, which classifier-free guidance leads away from."
    )

    @model_validator(mode="after")
    def _has_weight(self) -> CaptionWeights:
        if not self.region + self.long + self.short + self.empty:
            raise ValueError(
                "every weight is 0, so no prompt can be chosen; give one of them weight, as in region=0.9"
            )
        return self

    def without_empty(self) -> CaptionWeights:
        """Returns the same mixture of what has words; as it is where nothing has."""
        worded = self.region + self.long + self.short
        return self.model_copy(update={"empty": 0.0}) if worded else self


def photo_prompt(
    captions: Sequence[Caption],
    box: Box,
    rng: np.random.Generator,
    *,
    weights: CaptionWeights,
    suffix_share: float,
) -> str:
    """Returns the prompt of a crop of a photo; two numbers are drawn, whatever is chosen.

    Args:
        captions: of the photo, in any order.
        box: the crop, in px of the stored picture.
        weights: of the kinds of captions.
        suffix_share: share of what is not the empty prompt that gets the quality suffix, 0 to 1.
    """
    kind, suffixed = rng.random(2)
    kind *= weights.empty + weights.region + weights.long + weights.short
    if kind < weights.empty:
        return ""
    described = caption_for(captions, box)
    if weights.empty + weights.region <= kind < weights.empty + weights.region + weights.long:
        described = next((caption for caption in captions if caption.region == 0 and caption.text), described)
    text = described.text if described else ""
    if described and kind >= weights.empty + weights.region + weights.long:
        text = described.short_text
    return positive_prompt(text) if suffixed < suffix_share else text


def negative_prompt(trace: str) -> str:
    """Returns the words that a negative sample was made with, or the negative prompt where its maker noted none.

    Args:
        trace: the maker's record that travels with the sample, JSON with `prompt` if `supir-degrade negatives` made it.
    """
    try:
        told = json.loads(trace)
    except (ValueError, RecursionError):
        return NEGATIVE_PROMPT
    words = told.get("prompt") if isinstance(told, dict) else None
    return words if isinstance(words, str) and words.strip() else NEGATIVE_PROMPT


def names_a_side(prompt: str) -> bool:
    """Returns whether the words would be wrong of the mirrored picture: left, right, leftmost, right-hand, …."""
    return SIDE.search(prompt) is not None
