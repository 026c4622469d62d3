"""Sentences of any language, cut at that language's own sentence ends.

Place in the flow: `budget.py` keeps whole sentences, `cleaning.py` takes the last ones off. The law: joined by spaces
(or by nothing, after a mark that takes none), the sentences are the text; nothing within quotation marks or brackets is
cut. Scripts without a mark for the end (Thai, Lao) give one sentence.

Not a library: those for many languages want a model a language or are not kept up, and a caption needs the ends alone.
"""

from __future__ import annotations

import re

from supir_caption.word_lists import word_lists

ENDS = ".!?…。！？｡．؟۔।॥։።៕។။‼⁇"
"""Marks that end a sentence somewhere."""

_ALWAYS = "。！？｡؟۔।॥։።៕။‼⁇"  # of scripts without capitals: the mark alone says it
_CLOSERS = "\"'”’»)]）」』】"
_END = re.compile(rf"[{re.escape(ENDS)}]+[{re.escape(_CLOSERS)}]*|;(?=\s+[\u0370-\u03ff])")
_QUOTED = re.compile(
    r'"[^"]{1,300}"|“[^”]{1,300}”|„[^“”]{1,300}[“”]|«[^»]{1,300}»|「[^」]{1,300}」|『[^』]{1,300}』|\([^()]{1,300}\)|（[^（）]{1,300}）'
)
_OPENERS = "\"'“‘„«([「『¿¡"
# Before a capital these end no sentence; those that may (etc., usw., и т. д.) are not here.
_LISTS = word_lists("abbreviations")
_ABBREVIATIONS = _LISTS["abbreviations"]
_ORDINAL_BEFORE = _LISTS["before_ordinals"]
_UNPARTED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_LAST_WORD = re.compile(r"[\w.]+\Z")


def split_sentences(text: str) -> list[str]:
    """Returns the sentences of a text in their order, without the blanks around them.

    Args:
        text: one paragraph; an empty one has no sentence.
    """
    inside = [(match.start(), match.end() - 1) for match in _QUOTED.finditer(text)]
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if any(opening < match.start() and end <= closing for opening, closing in inside):
            continue
        if not _ends_here(text, match):
            continue
        found.append(text[start:end].strip())
        start = end
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def end_mark(sentence: str) -> str:
    """Returns what a sentence of the same script ends with: "。" for Chinese, "।" for Hindi, else "."."""
    last = sentence.rstrip(_CLOSERS)[-1:]
    return last if last in "。।።։۔។" and last else "."


def count_words(text: str) -> int:
    """Returns the number of words; of scripts that part none, two letters are taken for one."""
    unparted = len(_UNPARTED.findall(text))
    return len(_UNPARTED.sub(" ", text).split()) + (unparted + 1) // 2


def _ends_here(text: str, match: re.Match[str]) -> bool:
    following = text[match.end() :].lstrip()
    if not following:
        return True
    mark = match.group().rstrip(_CLOSERS)
    if mark and mark[-1] in _ALWAYS:
        return len(mark) == len(match.group()) or text[match.end()].isspace()
    if not text[match.end()].isspace() or not _begins_sentence(following):
        return False
    return mark != "." or not _is_abbreviation(text[: match.start()], following)


def _begins_sentence(following: str) -> bool:
    """A capital, a digit, or a letter of a script that has no capitals, quotation marks and brackets apart."""
    first = following.lstrip(_OPENERS)[:1]
    return bool(first) and (not first.isalpha() or not first.islower()) and first not in "-–—,;:&/"


def _is_abbreviation(before: str, following: str) -> bool:
    match = _LAST_WORD.search(before)
    if match is None:
        return False
    word = match.group()
    if len(word) == 1 and word.isalpha() and word.isupper():
        return True  # an initial
    if word.lower() in _ABBREVIATIONS:
        return True
    if word.isdigit() and len(word) <= 2:  # the 3. of a German date, before a month or a noun
        words = before[: match.start()].split()
        return bool(words) and words[-1].lower() in _ORDINAL_BEFORE and following[:1].isalpha()
    return False
