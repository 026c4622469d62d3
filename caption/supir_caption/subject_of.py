"""The subject of the verb that says a defect: "the corners of the photo are soft", "the print is faded, with creases".

Place in the flow: `said_of.py` asks where neither side of the defect names what has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from supir_caption.defect_words import (
    ASPECT,
    BEHIND,
    DETERMINERS,
    JOINERS,
    LIGHT,
    LINKS,
    PICTURE,
    PLACE,
    PREPOSITIONS,
    STOPS,
    Family,
)
from supir_caption.noun_phrases import Target, is_adjective, is_adverb, is_defect, is_picture, word_at

_CLAUSE_BORDERS = JOINERS | {"while", "where", "which", "that", "because", "so", "as", ":", "though", "but"}
_PRONOUNS = frozenset(["it", "this", "which", "that"])


def subject_of(words: Sequence[str], start: int, family: Family, before: Sequence[str]) -> Target:
    """Returns what the last verb before words[start] says the defect of, "unknown" if more than light words part them.

    Args:
        words: a sentence, normalised as `degradation.py` does.
        start: first word of the defect.
        family: the defect's.
        before: the sentence before, for what "it" is.
    """
    position = start - 1
    if word_at(words, position) == "," and word_at(words, start + 1) in ("by", "from"):
        return _subject(words, position, family, before)  # "commuters, blurred by motion"
    while position >= 0 and words[position] not in LINKS | {"with"}:
        if not _is_light(words, position):
            return "unknown"
        position -= 1
    if position < 0:
        return "unknown"
    holder = word_at(words, position - 1)
    if words[position] == "with" and position and holder not in STOPS:
        if is_defect(holder) or is_adjective(holder):
            return subject_of(words, position, family, before)
        return "picture" if holder in family.pictures else "unknown" if family.bare else "thing"
    return _subject(words, position, family, before)


def _is_light(words: Sequence[str], position: int) -> bool:
    word = words[position]
    is_filler = word in LIGHT | STOPS or is_adverb(word) or is_adjective(word)
    return is_filler or is_defect(word) or is_defect(" ".join(words[position : position + 2]))


def _subject(words: Sequence[str], verb: int, family: Family, before: Sequence[str]) -> Target:
    """What the phrase before a verb means, in its clause; where that begins with the verb, the clause before it."""
    begin = max((index + 1 for index in range(verb) if words[index] in _CLAUSE_BORDERS), default=0)
    phrase = [word for word in words[begin:verb] if not (is_adverb(word) or word in LINKS | {"can", "not"})]
    if not phrase:  # "the print is faded and has creases": the subject stands with the verb before
        earlier = next((index for index in range(begin - 2, -1, -1) if words[index] in LINKS), None)
        if earlier is not None:
            return _subject(words, earlier, family, before)
        phrase = [word for word in words[: max(0, begin - 1)] if word not in JOINERS]
    if not phrase:
        return "unknown"
    is_joined = begin > 1 and words[begin - 1] == "and" and not LINKS & set(words[:begin])
    if is_joined and _subject(words, begin - 1, family, before) == "picture":
        return "picture"  # "the subject and the background are blurry"
    if set(phrase) & BEHIND:
        return "thing"
    if phrase[-1] in _PRONOUNS and len(phrase) <= 2:
        return _antecedent(before, family)
    return "unknown" if phrase[0] == "there" else _head(phrase, family)


def _head(phrase: Sequence[str], family: Family) -> Target:
    """What the head of a subject means, or whose it is: "the texture of the photo", "the text in the image"."""
    head_end = next((i for i, word in enumerate(phrase) if i and word in PREPOSITIONS), len(phrase))
    head = phrase[head_end - 1]
    if is_picture(phrase[:head_end], family):
        return "picture"
    whose = [word for word in phrase[head_end + 1 :] if word not in DETERMINERS]
    is_part = head in family.has
    if whose and (is_part or head in ASPECT | PLACE):
        return "picture" if whose[0] in PICTURE or (is_part and family.bare) else "thing"
    return "picture" if is_part else "thing"


def _antecedent(before: Sequence[str], family: Family) -> Target:
    """What "it" is: the picture, where the sentence before says what the picture is and not what it shows."""
    verb = next((index for index, word in enumerate(before) if word in LINKS), None)
    if verb is None:
        return "picture" if set(before[:3]) & PICTURE else "unknown"
    if not set(before[:verb]) & PICTURE:
        return "unknown" if family.bare else "thing"
    return "picture" if family.bare or before[verb] in ("is", "was") else "thing"
