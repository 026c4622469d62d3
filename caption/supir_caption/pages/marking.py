"""A caption's text for a page, with the words marked that a check found, or that another caption does not have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from markupsafe import Markup, escape

from supir_caption.word_lists import word_lists

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_MIN_LETTERS = 4  # shorter words are seldom a thing, a material or a colour
_SMALL = word_lists("small")["small"]


def marked(text: str, found: Iterable[str]) -> Markup:
    """Returns the text with every finding in <mark>.

    Args:
        text: anything; it is escaped.
        found: words as a check gives them, in lower case.
    """
    patterns = [
        rf"(?<!\w){re.escape(words).replace(chr(92) + ' ', '[ -]+')}(?!\w)" for words in found if words
    ]
    if not patterns:
        return escape(text)
    return _wrapped(
        text, [match.span() for match in re.finditer("|".join(patterns), text, re.IGNORECASE)], "mark"
    )


def with_own_words(text: str, others: Collection[str]) -> Markup:
    """Returns the text with the words in <b> that say something and stand in none of the other text's.

    Args:
        text: anything; it is escaped.
        others: `said(...)` of the other text.
    """
    spans = [
        match.span() for match in _WORD.finditer(text) if _says(match[0]) and _root(match[0]) not in others
    ]
    return _wrapped(text, spans, "b")


def said(text: str) -> frozenset[str]:
    """Returns what a text names: its words of four letters and more, without endings and common small words."""
    return frozenset(_root(word) for word in _WORD.findall(text) if _says(word))


def agreement(one: str, other: str) -> float:
    """Returns the share of words, of all that either text says, that both say: 0 to 1; 1 where neither says any."""
    of_one, of_other = said(one), said(other)
    together = of_one | of_other
    return len(of_one & of_other) / len(together) if together else 1.0


def _says(word: str) -> bool:
    return len(word) >= _MIN_LETTERS and word.lower() not in _SMALL


def _root(word: str) -> str:
    """A word without the ending of its plural: benches and bench, tables and table, berries and berry are one."""
    word = word.lower()
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return (word[:-1] if word.endswith("s") and not word.endswith("ss") else word).removesuffix("e")


def _wrapped(text: str, spans: list[tuple[int, int]], tag: str) -> Markup:
    around, at, pieces = Markup("<{tag}>{{}}</{tag}>").format(tag=tag), 0, []
    for start, end in spans:
        pieces += [escape(text[at:start]), around.format(text[start:end])]
        at = end
    return Markup("").join([*pieces, escape(text[at:])])
