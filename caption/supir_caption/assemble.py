"""From an engine's text to the row that is stored: dense text, short form, token counts and checks."""

from __future__ import annotations

from collections.abc import Sequence

from supir_caption.budget import facts, shorten
from supir_caption.clip_tokens import CountTokens
from supir_caption.fitness import NO_CAPTION
from supir_caption.lint import lint
from supir_caption.picture import Description
from supir_shards import Box, Caption


def captions_of(
    key: str,
    boxes: Sequence[Box],
    descriptions: Sequence[Description],
    *,
    model: str,
    count: CountTokens,
    short_tokens: int,
) -> list[Caption]:
    """Returns a sample's captions, one for each box, the whole picture (region 0) first.

    Args:
        key: the sample's key.
        boxes: px of the stored picture.
        descriptions: the engine's text for each box.
        model: what the captions are signed with.
        count: from `clip_tokens.clip_token_counter`.
        short_tokens: CLIP tokens of the short text at most.
    """
    captions: list[Caption] = []
    for region, (box, description) in enumerate(zip(boxes, descriptions, strict=True)):
        sentences = facts(description.short or description.text)
        short = shorten(sentences, count, short_tokens)
        checks = {
            **({} if NO_CAPTION in description.checks else lint(description.text)),
            **description.checks,
            **({"facts_in_short": f"{short.num_facts}/{len(sentences)}"} if sentences else {}),
        }
        captions.append(
            Caption(
                key=key,
                region=region,
                box=box,
                text=description.text,
                short_text=short.text,
                num_tokens_clip_l=short.counts.clip_l,
                num_tokens_clip_g=short.counts.clip_g,
                checks=checks,
                model=description.model or model,
                prompt=description.prompt,
            )
        )
    return captions
