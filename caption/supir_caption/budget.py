"""The short text: as many facts, in order, as SDXL's text encoders read (75 tokens), cut at a clause's end.

Both encoders of SDXL cut what comes after token 77 in silence; `clip_tokens` counts for both. The law kept here:
neither count is ever above the budget, and what is said first in the dense text is what is kept.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from supir_caption.clip_tokens import CountTokens, TokenCounts
from supir_caption.splitting import count_words, end_mark, split_sentences

_MIN_CLAUSE_WORDS = 3
_CLAUSE_END = re.compile(
    r"[,;:]\s|[，、；：،؛]|\s[-–—]\s|\s(?=(?:and|with|while|which|where|against|under)\s)"
)
# Words before the first fact that say nothing about the picture.
_LEAD = re.compile(
    r"^(?:in|within) (?:the|this) (?:image|picture|photo|photograph|scene),?\s+"
    r"(?:there (?:is|are)\s+|we (?:can )?see\s+)?"
    r"|^(?:the|this) (?:image|picture|photo|photograph|scene) "
    r"(?:features|shows|depicts|displays|captures|presents|portrays|showcases|contains|is of)\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ShortText:
    """The short text, its token counts, and how many of the facts it holds in full."""

    text: str
    counts: TokenCounts
    num_facts: int


def facts(text: str) -> list[str]:
    """Returns the sentences of a dense text in order, the lead-in of each ("The image shows") taken off."""
    bare = (_LEAD.sub("", sentence) for sentence in split_sentences(" ".join(text.split())))
    return [sentence[0].upper() + sentence[1:] for sentence in bare if sentence]


def shorten(sentences: Sequence[str], count: CountTokens, limit: int) -> ShortText:
    """Returns the longest start of `sentences` that stays within `limit` tokens for both encoders.

    Whole sentences are kept while they fit. The first that does not is cut at the last clause border that
    fits; only when nothing else would be left is a sentence cut between words, or a word between letters.

    Args:
        sentences: facts, the most important first.
        count: from `clip_tokens.clip_token_counter`.
        limit: tokens, 1 to 75.
    """
    kept: list[str] = []
    for sentence in sentences:
        if count(" ".join([*kept, sentence])).largest > limit:
            kept += _first_fitting(kept, sentence, count, limit)
            break
        kept.append(sentence)
    text = " ".join(kept)
    num_facts = sum(1 for sentence, whole in zip(kept, sentences, strict=False) if sentence == whole)
    return ShortText(text, count(text), num_facts)


def _first_fitting(kept: list[str], sentence: str, count: CountTokens, limit: int) -> list[str]:
    def fits(start: str) -> bool:
        return count(" ".join([*kept, start])).largest <= limit

    for border in reversed([match.start() for match in _CLAUSE_END.finditer(sentence)]):
        clause = sentence[:border].rstrip(" ,;:-–—") + end_mark(sentence)
        if count_words(clause) >= _MIN_CLAUSE_WORDS and fits(clause):
            return [clause]
    if kept:
        return []
    words = sentence.split()
    num_words = _most(len(words), lambda number: fits(" ".join(words[:number])))
    if num_words:
        return [" ".join(words[:num_words])]
    return [words[0][: _most(len(words[0]), lambda number: fits(words[0][:number]))]]


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """A number that fits, up to `count`: the largest, where counts grow with the text; 0 if none was found."""
    return bisect_left(range(1, count + 1), True, key=lambda number: not fits(number))
