"""What a caption says that a reader of the dataset should know of: each check, with the words that it was found by.

Place in the flow: `assemble.py` stores the checks in the caption's row; `fitness.py` says which of them make a caption
unfit, so that it is asked for again. The law: writing that a caption quotes from a sign is the picture's and no claim
of the captioner. Precision and recall of each check on labelled captions: `benchmarks/caption_checks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from supir_caption.degradation import degradation_words
from supir_caption.ideas import ideas
from supir_caption.language import foreign_words
from supir_caption.phrases import phrases
from supir_caption.repetition import repeated

_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
CHECKS = ("degradation", "refusal", "hedging", "boilerplate", "repetition", "language")
_QUOTED = re.compile(
    r"\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|„[^“”\n]{1,200}[“”]|«[^»\n]{1,200}»|(?<!\w)['‘][^'‘’\n]{2,80}['’](?!\w)"
)
_MOSTLY = (
    0.6  # share of a text that one quotation may not exceed: then the whole caption is in quotation marks
)


@lru_cache(maxsize=1024)
def lint(text: str) -> Mapping[str, str]:
    """Returns what was found: `degradation`, `refusal`, `hedging`, `boilerplate`, `repetition`, `language`.

    Args:
        text: one dense caption, cleaned (`cleaning.clean`) or not; an empty one is reported as `empty`.

    Returns:
        For each check that found something its words, in lower case and parted by commas; for `language` its name.
        Kept, as a text on its way is asked about thrice (again? fit? what is stored?), so it cannot be changed.
    """
    if not text.strip():
        return MappingProxyType({"empty": "no text"})
    own = own_words(text)
    told = _without_refusals(own)
    found = {
        "degradation": ", ".join(degradation_words(own)),
        "refusal": ", ".join(phrases("refusal", own)),
        "hedging": ", ".join(phrases("hedging", told)),
        "boilerplate": ", ".join([*phrases("boilerplate", told), *ideas(told)]),
        "repetition": repeated(text),
        "language": foreign_words(own),
    }
    return MappingProxyType({name: words for name, words in found.items() if words})


def own_words(text: str) -> str:
    """Returns the text with what it quotes, such as a sign, replaced by "…"."""
    text = text.strip()
    return text if _QUOTED.fullmatch(text) else _QUOTED.sub("…", text)


def _without_refusals(own: str) -> str:
    """The sentences that tell of the picture: "it may contain private data" in a refusal is no doubt of it."""
    return "".join(one for one in _SENTENCE.findall(own) if not phrases("refusal", one))
