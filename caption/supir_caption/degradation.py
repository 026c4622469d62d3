"""Words in a caption that say that the picture is bad: what is blurred or noisy, and whether that is the picture.

Why: a captioner that sees a degraded picture names the degradation (LLaVA-1.6-13B in 17% of cases, Qwen2.5-VL-7B in
24%: LucidFlux, arXiv 2509.22414), and a prompt with "blurry" in it teaches the restorer to keep the blur. "Grainy
sand", "a noisy street" and "the background is blurred" tell of the scene and stay.

Place in the flow: `lint.py` calls it with the captioner's own words (what is quoted from a sign is taken out before).
The law: a defect counts by what it is said of (`said_of.py`), and not where it is denied ("free of noise").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from supir_caption.defect_words import (
    ALWAYS,
    BLOWN,
    BLOWN_NEAR,
    FAMILIES,
    NEGATORS,
    PICTURE,
    QUALITY_IS,
    STOPS,
)
from supir_caption.noun_phrases import is_defect
from supir_caption.said_of import said_of

_TOKEN = re.compile(r"[a-zà-öø-ÿ0-9]+|[.,;:!?()]")
_SENTENCE = re.compile(r"[^.;!?\n]+")
_APPOSITION = re.compile(
    r"(\b(?:the|this) [\w-]+), (?:an?|the) [\w -]{1,40}, (?=(?:is|are|was|were|looks?|appears?) )"
)
"""What stands between a subject and its verb: "the subject, a sparrow, is out of focus"."""
_NEGATION_REACH = 5


def degradation_words(text: str) -> list[str]:
    """Returns the words that say the picture is degraded, in their order, each once, in lower case.

    Args:
        text: a caption in English, quotations taken out.

    Limits: what a pronoun stands for is guessed from the sentence before; irony and metaphor are not seen.
    """
    found: list[str] = []
    before: list[str] = []
    for sentence in _SENTENCE.findall(_normalised(text)):
        words = sentence.split()
        found += _in_sentence(words, before)
        before = words or before
    return list(dict.fromkeys(found))


def _normalised(text: str) -> str:
    """Lower case, words and punctuation apart, hyphens as spaces: "Close-up, it's" is "closeup , it"."""
    lower = re.sub(r"[‐‑-]", " ", text.lower().replace("’", "'"))
    lower = re.sub(r"n't\b", " not", lower.replace("can't", "cannot"))
    lower = re.sub(r"\bclose ups?\b", "closeup", lower)
    lower = re.sub(r",? as a whole\b,?", "", lower)
    lower = _APPOSITION.sub(r"\1 ", lower)
    lower = re.sub(r"'s\b|s'(?=\s)", lambda match: "s" if match.group() == "s'" else "", lower)
    return " ".join(_TOKEN.findall(lower.replace("\n", " . ")))


def _in_sentence(words: Sequence[str], before: Sequence[str]) -> list[str]:
    line = " ".join(words)
    found = [match for match in ALWAYS.finditer(line) if not _negated(words, _index(line, match))]
    found += [match for match in BLOWN.finditer(line) if BLOWN_NEAR & set(words)]
    found += [match for match in QUALITY_IS.finditer(line) if _is_of_picture(match)]
    for family in FAMILIES:
        for match in family.pattern.finditer(line):
            start = _index(line, match)
            end = start + len(match.group().split())
            if _negated(words, start):
                continue
            target = said_of(words, start, end, family, before)
            if target == "picture" or (target == "unknown" and family.bare):
                found.append(match)
    return [match.group() for match in _outermost(found)]


def _outermost(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """In the order of the sentence, without what lies in a longer one: "grain" in "film grain"."""
    kept: list[re.Match[str]] = []
    for match in sorted(matches, key=lambda match: (match.start(), -match.end())):
        if not kept or match.end() > kept[-1].end():
            kept.append(match)
    return kept


def _index(line: str, match: re.Match[str]) -> int:
    return line[: match.start()].count(" ")


def _is_of_picture(match: re.Match[str]) -> bool:
    """Whose quality is poor: the picture's unless a word for something else stands before or after it."""
    whose = match["pp"].split()
    if whose:
        return whose[-1] in PICTURE
    return match["of"] in PICTURE | STOPS | {"overall", "visual", "technical", "general", "scan"}


def _negated(words: Sequence[str], start: int) -> bool:
    """Whether a "no", "without" or "free of" reaches the word: over a list of defects, not over anything else."""
    for position in range(start - 1, max(-1, start - 1 - _NEGATION_REACH), -1):
        word = words[position]
        if word in NEGATORS:
            return word != "not" or words[position + 1] not in ("only", "just")
        if word in ("but", "while", "though"):
            return False
        if word == "," and not is_defect(words[position - 1]):
            return False
    return False
