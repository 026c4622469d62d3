"""What a defect in a sentence is said of: the picture, a thing in it, or nothing that the sentence names.

Place in the flow: `degradation.py` asks for each defect word. The order of the evidence: the phrase after it ("noise
in the sky"), the noun that it stands before ("a blurred background"), the noun right before it ("headlights blurred"),
the subject of its verb (`subject_of.py`: "the corners of the photo are soft"). A small grammar over the word lists of
`words/grammar.txt`, English only; no parser, since a tagger trained on news costs more than it brings here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from supir_caption.defect_words import (
    ACTS_ON,
    ASPECT,
    BEHIND,
    DETERMINERS,
    HELD,
    HELD_AT,
    JOINERS,
    LIGHT,
    LINKS,
    MADE,
    MEASURES,
    NOISE_KINDS,
    PICTURE,
    PLACE,
    PREPOSITIONS,
    STOPS,
    Family,
)
from supir_caption.noun_phrases import (
    Target,
    is_adjective,
    is_adverb,
    is_defect,
    is_picture,
    kind_of,
    phrase_at,
    word_at,
)
from supir_caption.subject_of import antecedent, subject_of

OWNERS = frozenset(["its", "their", "his", "her", "our", "my", "your"])
_MADE_REACH = 6  # words from "make" to "noise"


def said_of(words: Sequence[str], start: int, end: int, family: Family, before: Sequence[str]) -> Target:
    """Returns what the defect at words[start:end] is said of.

    Args:
        words: a sentence, normalised as `degradation.py` does.
        start: first word of the defect.
        end: behind its last word.
        family: the defect's.
        before: the sentence before, for what "it" is.
    """
    told = _owner(words, start, family, before) or _said_after(words, start, end, family, before)
    if told == "picture" and not family.bare and HELD & set(words) and HELD_AT & set(words[end:]):
        return "thing"  # a torn photograph that somebody holds, or that hangs on the wall
    if told == "unknown":
        told = _noun_before(words, start, family)
    return subject_of(words, start, family, before) if told == "unknown" else told


def _owner(words: Sequence[str], start: int, family: Family, before: Sequence[str]) -> Target | None:
    """Whose a defect is that a pronoun gives to something: "its fine grain", "their scratches"."""
    position = start - 1
    while is_adverb(word_at(words, position)) or is_adjective(word_at(words, position)):
        position -= 1
    if family.form != "noun" or word_at(words, position) not in OWNERS:
        return None
    is_pictures = set(words[:position]) & PICTURE or antecedent(before, family) == "picture"
    return "picture" if words[position] == "its" and is_pictures else "thing"


def _said_after(words: Sequence[str], start: int, end: int, family: Family, before: Sequence[str]) -> Target:
    following = word_at(words, end)
    if family.form == "noun":
        return _compound(words, start, end, family) or _phrase_after(words, end, family)
    if family.form == "measure" and following == "of":
        return _phrase_after(words, end, family)
    if family.form == "verb" or (family.form == "measure" and following in JOINERS):
        return "unknown"
    if words[start] == "blurring" and following in DETERMINERS:
        return kind_of(phrase_at(words, end + 1), family)
    if words[start].startswith("blur") and following == "into":
        return "thing"
    told = _noun_after(words, end, family)
    return _aspect(words, start, end, family, before) if told == "aspect" else told


def _compound(words: Sequence[str], start: int, end: int, family: Family) -> Target | None:
    """Noun with noun: "background blur", "wood grain", "noise barrier", "a field of grain", "into a blur"."""
    previous, following = word_at(words, start - 1), word_at(words, end)
    if previous in PICTURE:
        return "picture"
    made = MADE & set(words[max(0, start - _MADE_REACH) : start])
    if made or previous in BEHIND | NOISE_KINDS or previous == "into":
        return "thing"
    if following in ACTS_ON:
        return _whose(words, _past_adverbs(words, end + 1), family)
    if previous == "of" and word_at(words, start - 2) not in MEASURES | LINKS and start > 1:
        return "thing"
    if previous == "of" and word_at(words, start - 2) == "full":  # "a hall full of noise"
        told = _noun_right_before(words, start - 2, family)
        if told != "unknown":
            return told
    if following not in STOPS | PLACE and not is_adverb(following):
        return "picture" if following in PICTURE else "thing"
    return None


def _phrase_after(words: Sequence[str], end: int, family: Family) -> Target:
    """A phrase with a preposition: "noise in the sky", "scratches across the surface of the print"."""
    position = _past_adverbs(words, end)
    return _whose(words, position, family) if _is_preposition(words, position) else "unknown"


def _past_adverbs(words: Sequence[str], position: int) -> int:
    while is_adverb(word_at(words, position)):
        position += 1
    return position


def _is_preposition(words: Sequence[str], position: int) -> bool:
    return word_at(words, position) in PREPOSITIONS - {"with", "to"}


def _whose(words: Sequence[str], position: int, family: Family) -> Target:
    """What a phrase means, a preposition before it passed over: "the lid" after "dust covers"."""
    position += _is_preposition(words, position)
    phrase = phrase_at(words, position)
    if not phrase:
        return "unknown"
    head, after = phrase[-1], position + len(phrase)
    if head in PLACE | family.has | ASPECT and word_at(words, after) in ("of", "in"):
        return _phrase_after(words, after, family)
    told = kind_of(phrase, family)
    return "unknown" if told == "thing" and head in PLACE - BEHIND else told


def _noun_after(words: Sequence[str], end: int, family: Family) -> Target | Literal["aspect"]:
    """The first noun after an adjective, others passed over: "a grainy, dark photo", "blurred greenery"."""
    position, commas = end, 0
    while position < len(words):
        if words[position] in JOINERS:
            if words[position] != "," and words[position - 1] == ",":  # ", and": another clause
                return "unknown"
            commas += words[position] == ","
            position += 1
            continue
        phrase = [] if words[position] in DETERMINERS else phrase_at(words, position)
        if not phrase or is_adverb(phrase[0]):
            return "unknown"
        head = phrase[-1]
        position += len(phrase)
        if is_picture(phrase, family) or head in family.has:
            return "picture"
        if head in ASPECT:
            return "aspect"
        is_list_item = commas > 0 and len(phrase) == 1
        if not (is_defect(" ".join(phrase)) or is_adjective(head) or is_defect(head)):
            return "unknown" if is_list_item else "thing"
        if word_at(words, position) not in JOINERS:
            return "unknown"
    return "unknown"


def _aspect(words: Sequence[str], start: int, end: int, family: Family, before: Sequence[str]) -> Target:
    """Whose "grainy texture" it is: that of the sand, or of what the sentence is about."""
    position = next((index for index in range(end, len(words)) if words[index] in ASPECT), end)
    if word_at(words, position + 1) in ("of", "to", "on"):
        phrase = phrase_at(words, position + 2)
        if phrase and phrase[-1] != "it":
            return kind_of(phrase, family)
    if not family.bare:
        return "thing"
    subject = subject_of(words, start, family, before)
    if subject != "unknown":
        return subject
    return "picture" if set(words[:start]) & PICTURE else "thing"


def _noun_before(words: Sequence[str], start: int, family: Family) -> Target:
    """A noun right before the defect: "headlights blurred", "with the background out of focus"."""
    return "unknown" if family.form in ("noun", "measure") else _noun_right_before(words, start, family)


def _noun_right_before(words: Sequence[str], start: int, family: Family) -> Target:
    position = start - 1
    while is_adverb(word_at(words, position)):
        position -= 1
    word = word_at(words, position)
    if word in STOPS | LIGHT or is_adjective(word) or is_defect(word):
        return "unknown"
    is_behind = set(words[max(0, position - 3) : position]) & BEHIND
    return "picture" if word in family.pictures | family.has and not is_behind else "thing"
