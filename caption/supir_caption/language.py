"""Whether a caption, or a sentence of it, is not English: CLIP's text encoders know English and little else.

Place in the flow: `lint.py` calls it with the captioner's own words; writing quoted from a sign may be in any language.
Two kinds of evidence: letters of another script, and function words. A Latin-script sentence without English function
words is foreign if it has those of another language, or if it is long and no list of tags.
"""

from __future__ import annotations

import re
import unicodedata

from supir_caption.word_lists import word_lists

_MAX_OTHER_SCRIPT = 0.15  # share of a sentence's letters
_FEW_LETTERS = 3  # a name in another script, as on a sign
_MIN_WORDS = 4
_LONG_WORDS = 9
_SCRIPTS = {"CJK": "Chinese or Japanese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？।])")
_WORD = re.compile(r"[^\W\d_]+")

_LISTS = word_lists("languages")
_SHARED = _LISTS["shared"]
_ENGLISH = _LISTS["English"]
_OTHERS = {name: words for name, words in _LISTS.items() if name not in ("English", "shared")}


def foreign_words(text: str) -> str:
    """Returns which language or script a caption or a sentence of it is in, "" where all is English.

    Args:
        text: a caption, quotations taken out.

    Limits: a Latin-script fragment of less than four words, or a list of tags, is taken for English.
    """
    for sentence in _SENTENCE.split(text):
        found = _script(sentence) or _language(sentence)
        if found:
            return found
    return ""


def _script(sentence: str) -> str:
    letters = [letter for letter in sentence if letter.isalpha()]
    other = [letter for letter in letters if not _is_latin(letter)]
    if len(other) <= _FEW_LETTERS or len(other) <= _MAX_OTHER_SCRIPT * len(letters):
        return ""
    script = unicodedata.name(other[len(other) // 2], "UNKNOWN").split()[0]
    return _SCRIPTS.get(script, script.capitalize())


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith(
        ("LATIN", "MODIFIER", "FEMININE", "MASCULINE")
    )


def _language(sentence: str) -> str:
    names_apart = _WORD.findall(sentence)
    # A name has its own language: capitalised words do not count, but for the one that begins the sentence.
    words = [word.lower() for index, word in enumerate(names_apart) if not word[0].isupper() or index == 0]
    if len(names_apart) < _MIN_WORDS or not words:
        return ""
    english = sum(word in _ENGLISH and word not in _SHARED for word in words)
    counts = {
        language: sum(word in function_words and word not in _ENGLISH for word in words)
        for language, function_words in _OTHERS.items()
    }
    language = max(counts, key=lambda name: counts[name])
    if counts[language] >= 2 and counts[language] > english:
        return language
    like_english = english or len({word for word in words if word in _ENGLISH}) > 1
    if len(words) >= _LONG_WORDS and not like_english and sentence.count(",") * 4 < len(words):
        return "not English"
    return ""
