"""Phrases that a captioner says about itself, its doubts or the viewer, instead of what is in the picture.

Place in the flow: `lint.py` calls it with the captioner's own words (what is quoted from a sign is taken out).
The law: a phrase counts by its frame, not by a single word that scenes have too: "might be" but not "the might of",
"appears to" but not "appears above the roofs", "a cosy atmosphere" but not "the atmosphere above Europe". English only.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from supir_caption.word_lists import alternatives


def phrases(kind: Literal["refusal", "hedging", "boilerplate"], text: str) -> list[str]:
    """Returns the phrases of a kind in a caption, in their order, each once, in lower case.

    Args:
        kind: refusal: the captioner declines or has no picture; hedging: it is not sure; boilerplate: it talks to the
            asker, praises, or says what a viewer feels. The patterns stand in `words/KIND.txt`.
        text: a caption in English, quotations taken out.
    """
    plain = text.replace("’", "'")
    found = (match.group().lower().strip(" .!?\n") for match in _pattern(kind).finditer(plain))
    return list(dict.fromkeys(found))


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile(alternatives(kind), re.IGNORECASE)
