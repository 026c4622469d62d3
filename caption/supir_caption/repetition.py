"""Whether a captioner got into a loop: the same words, sentence or frame again and again.

Place in the flow: `lint.py` calls it. A model that loops fills its answer's last tokens with copies, often without an
end; a caption that names four coats by their colours does not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CJK = re.compile(r"[぀-ヿ㐀-䶿一-鿿]")
_SENTENCE = re.compile(r"[.!?。！？;\n]+(?:\s+|$)|(?<=[。！？])")
_CHARACTERS = re.compile(r"(?P<loop>[^\s.…_=*#~-]{1,6}?)(?P=loop){5,}")
_MAX_PERIOD = 24  # words of a loop at most
_LONG_SENTENCE, _SHORT_SENTENCE = 8, 3  # words from which a sentence may not come twice, or three times
_LONG_RUN = 10  # words from which a run of them, over commas and full stops, may not follow itself once
_LONGEST_COUNT = 12  # numbers in a row that a clock, a ruler or a dial may show
_MIN_PERIOD_CUT_SHORT = (
    4  # words from which the last of a loop may lack its last word: the answer ended there
)
_FRAME_TIMES, _FRAME_WORDS = 3, 5


def repeated(text: str) -> str:
    """Returns what is repeated and how often, as "4 x a tree on a hill"; "" where nothing is.

    Args:
        text: a caption of any language; words are parted by spaces, those of Chinese and Japanese are characters.
    """
    loop = _CHARACTERS.search(text)
    if loop and not loop.group().isdigit():
        return f"{len(loop.group()) // len(loop['loop'])} x {loop['loop']}"
    words = [word.lower() for word in _WORD.findall(_CJK.sub(lambda match: f" {match.group()} ", text))]
    return _sentences(text) or _consecutive(words) or _frames(text)


def _consecutive(words: Sequence[str]) -> str:
    """A run of up to 24 words that follows itself: 4 times in all if it is one word, else 3 times, or 2 if long."""
    for period in range(1, min(_MAX_PERIOD, (len(words) + 1) // 2) + 1):
        times = 3 if period == 1 else 1 if period >= _LONG_RUN else 2  # beyond the first
        needed = period * times - (period >= _MIN_PERIOD_CUT_SHORT)
        start = 0
        for index in range(period, len(words) + 1):
            if index < len(words) and words[index] == words[index - period]:
                continue
            same = index - period - start
            if same >= needed and not _is_counting(words[start:index]):
                return f"{round(same / period) + 1} x {' '.join(words[start : start + period])}"
            start = index - period + 1
    return ""


def _is_counting(words: Sequence[str]) -> bool:
    return len(words) <= _LONGEST_COUNT and all(word.isdigit() for word in words)


def _sentences(text: str) -> str:
    """A sentence that comes three times, or twice if it is long or if another one does too."""
    lines = [" ".join(_WORD.findall(sentence.lower())) for sentence in _SENTENCE.split(text)]
    again = {
        line: times
        for line, times in Counter(lines).items()
        if times >= 2 and len(line.split()) >= _SHORT_SENTENCE
    }
    for line, times in again.items():
        if times >= 3 or len(again) >= 2 or len(line.split()) >= _LONG_SENTENCE:
            return f"{times} x {line}"
    return ""


def _frames(text: str) -> str:
    """Sentences that are one sentence with a word changed: "Bottle 3 is green." after "Bottle 2 is green."."""
    sentences = [_WORD.findall(sentence.lower()) for sentence in _SENTENCE.split(text)]
    sentences = [words for words in sentences if len(words) >= _SHORT_SENTENCE]
    for index, words in enumerate(sentences):
        alike = sum(1 for other in sentences[index + 1 :] if _is_same_frame(words, other))
        needed = _FRAME_TIMES - 1 if len(words) >= 2 * _FRAME_WORDS - 2 else _FRAME_TIMES
        if alike >= needed:
            return f"{alike + 1} x {' '.join(words)}"
    return ""


def _is_same_frame(words: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two sentences share all words but one or two, which for short ones must be counting words."""
    first, second = Counter(words), Counter(other)
    shared = sum((first & second).values())
    changed = max(len(words), len(other)) - shared
    if changed <= 1:
        return len(words) >= _SHORT_SENTENCE
    return changed <= 2 and shared >= _FRAME_WORDS
