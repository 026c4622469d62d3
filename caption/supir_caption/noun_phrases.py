"""Where a noun phrase ends, what its head is, and whether that means the picture: the small change of `said_of.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from supir_caption.defect_words import (
    ADJECTIVES,
    ASPECT,
    DETERMINERS,
    FAMILIES,
    LIGHT,
    PICTURE,
    PICTURE_COMPOUND,
    STOPS,
    Family,
)

Target = Literal["picture", "thing", "unknown"]

_MAX_PHRASE = 7  # words
_ADJECTIVE_ENDINGS = ("ed", "ing", "ish", "ous", "ive", "less", "ful", "ible", "able")
_ADVERBS = frozenset(["very", "quite", "still", "just", "all", "itself", "bit"])
_SHORTEST_ADVERB = 5  # letters; "fly" and "July" are none
_WHOLE = DETERMINERS | {"whole", "entire", "full"}


def word_at(words: Sequence[str], position: int) -> str:
    """Returns the word at a position, a full stop outside the sentence."""
    return words[position] if 0 <= position < len(words) else "."


def is_adverb(word: str) -> bool:
    """Returns whether a word is passed over before a verb or an adjective."""
    return word in _ADVERBS or (word.endswith("ly") and len(word) >= _SHORTEST_ADVERB)


def is_adjective(word: str) -> bool:
    """Returns whether a word looks like one more adjective before the noun."""
    return word in LIGHT or word in ADJECTIVES or word.endswith(_ADJECTIVE_ENDINGS)


def is_defect(words: str) -> bool:
    """Returns whether words are one of the defects and no more."""
    return any(family.pattern.fullmatch(words) for family in FAMILIES)


def phrase_at(words: Sequence[str], position: int) -> list[str]:
    """Returns the noun phrase at a position, from its determiners to its head; empty where none begins."""
    phrase: list[str] = []
    while position < len(words) and len(phrase) < _MAX_PHRASE:
        word = words[position]
        only_determiners = all(earlier in DETERMINERS for earlier in phrase)
        if word in STOPS and not (word in DETERMINERS and only_determiners):
            break
        if not only_determiners and word.endswith(("ed", "ing")) and not is_adjective(phrase[-1]):
            break  # "a street lined with stalls"
        phrase.append(word)
        if (
            word in PICTURE | ASPECT
            and word_at(words, position + 1) not in PICTURE_COMPOUND | PICTURE | ASPECT
        ):
            break
        position += 1
    return phrase


def is_picture(phrase: Sequence[str], family: Family) -> bool:
    """Returns whether a phrase's head means the picture: it does not in "picture frame" nor in "window frame"."""
    if not phrase:
        return False
    *rest, head = phrase
    if head == "frame" and any(word not in _WHOLE for word in rest):
        return False
    return head in family.pictures and not (rest and rest[-1] in PICTURE and head in PICTURE_COMPOUND)


def kind_of(phrase: Sequence[str], family: Family) -> Target:
    """Returns whether a phrase is the picture, or a part that has such defects as a part of it, or a thing."""
    if not phrase:
        return "unknown"
    return "picture" if is_picture(phrase, family) or phrase[-1] in family.has else "thing"
