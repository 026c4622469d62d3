"""What a captioner's captions come to: rates of the checks with their words, lengths, openings and examples.

Place in the flow: `report` and `compare` add caption after caption, and print. The law: the counts do not depend on the
order of the captions, and the examples are those whose hash is smallest, so the same captions give the same page;
memory holds counts and examples, never the captions.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from supir_caption.config import CLIP_CONTEXT_TOKENS
from supir_caption.splitting import count_words
from supir_shards import Caption

NOTES = ("facts_in_short", "cleaned", "answered_by", "tries")
"""Entries of a caption's checks that find no fault in it."""

SHORT_OPENING_WORDS = 3
WORDS_A_BAR = 10
MAX_BARS = 40
TOKENS_A_BAR = 5


@dataclass(frozen=True, slots=True)
class Example:
    """A caption, and the part that holds its picture."""

    part: str
    caption: Caption


class Fewest:
    """The `size` examples whose hash is smallest: as good as drawn by chance, and the same every time.

    Args:
        size: how many are kept.
        salt: makes the choice another one than that of other groups.
    """

    def __init__(self, size: int, salt: str) -> None:
        self._size, self._salt = size, salt
        self._heap: list[tuple[int, str, int, Example]] = []

    def add(self, example: Example) -> None:
        """Takes an example if it is among the smallest."""
        caption = example.caption
        order = zlib.crc32(f"{self._salt}/{caption.key}/{caption.region}".encode())
        item = (-order, caption.key, caption.region, example)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, item)
        elif self._size and item[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, item)

    def examples(self) -> list[Example]:
        """Returns them, smallest hash first."""
        return [item[3] for item in sorted(self._heap, key=lambda item: (-item[0], item[1:3]))]


@dataclass(slots=True)
class CheckTally:
    """What one check found: captions of whole pictures and of regions, its words, and examples."""

    examples: Fewest
    whole: int = 0
    regions: int = 0
    words: Counter[str] = field(default_factory=Counter)

    @property
    def captions(self) -> int:
        """Captions with the check."""
        return self.whole + self.regions


class Tally:
    """Counts over a captioner's captions.

    Args:
        examples: captions that are kept of each check, and of those without any.
    """

    def __init__(self, examples: int) -> None:
        self._num_examples = examples
        self.whole = self.regions = self.with_check = 0
        self.checks: dict[str, CheckTally] = {}
        self.cleaned: Counter[str] = Counter()
        self.words: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        self.facts = self.facts_in_short = 0
        self.openings: Counter[str] = Counter()
        self.texts: Counter[int] = Counter()
        self.by: Counter[tuple[str, str]] = Counter()
        self.plain = Fewest(examples, "plain")

    @property
    def captions(self) -> int:
        """All captions."""
        return self.whole + self.regions

    def add(self, example: Example) -> None:
        """Counts one caption."""
        caption = example.caption
        if caption.region:
            self.regions += 1
        else:
            self.whole += 1
        faults = faults_of(caption)
        self.with_check += bool(faults)
        for check, words in faults.items():
            self._add_fault(check, words, example)
        if not faults:
            self.plain.add(example)
        for kind in filter(None, caption.checks.get("cleaned", "").split(", ")):
            name, _, times = kind.rpartition(" ")
            self.cleaned[name] += int(times) if times.isdecimal() else 1
        kept, _, there = caption.checks.get("facts_in_short", "").partition("/")
        if kept.isdecimal() and there.isdecimal():
            self.facts_in_short += int(kept)
            self.facts += int(there)
        self.words[count_words(caption.text)] += 1
        self.tokens[max(caption.num_tokens_clip_l, caption.num_tokens_clip_g)] += 1
        if caption.text:
            self.openings[" ".join(caption.text.split()[:SHORT_OPENING_WORDS]).lower()] += 1
            self.texts[zlib.crc32(caption.text.encode())] += 1
        self.by[caption.model, caption.prompt] += 1

    def _add_fault(self, check: str, words: str, example: Example) -> None:
        tally = self.checks.get(check)
        if tally is None:
            tally = self.checks[check] = CheckTally(Fewest(self._num_examples, check))
        if example.caption.region:
            tally.regions += 1
        else:
            tally.whole += 1
        tally.words.update(found_words(check, words))
        tally.examples.add(example)

    @cached_property
    def same_text(self) -> int:
        """Captions whose text another caption has too, word for word."""
        return sum(times for times in self.texts.values() if times > 1)

    def median_words(self) -> int:
        """Returns the median number of words of the dense text; 0 without captions."""
        return quantile(self.words, 0.5)


def faults_of(caption: Caption) -> dict[str, str]:
    """Returns the checks that found something, with their words."""
    return {name: words for name, words in sorted(caption.checks.items()) if name not in NOTES}


def found_words(check: str, words: str) -> list[str]:
    """Returns the single findings of a check's words: ["blurry", "noisy"] of "blurry, noisy"."""
    if check == "repetition":
        times, between, rest = words.partition(" x ")
        return [rest if between and times.isdecimal() else words]
    return words.split(", ")


def quantile(counts: Counter[int], share: float) -> int:
    """Returns the smallest value that at least `share` of the counted values do not exceed; 0 of none."""
    wanted, seen = math.ceil(share * counts.total()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return 0


def bars(counts: Counter[int], step: int, most: int = MAX_BARS) -> list[int]:
    """Returns the captions in steps of `step` from 0; what is beyond the last of at most `most` bars is in it."""
    if not counts:
        return []
    heights = [0] * min(most, max(counts) // step + 1)
    for value, times in counts.items():
        heights[min(value // step, len(heights) - 1)] += times
    return heights


def token_bars(counts: Counter[int]) -> list[int]:
    """Returns the captions in steps of five CLIP tokens, up to the budget."""
    return bars(counts, TOKENS_A_BAR, CLIP_CONTEXT_TOKENS // TOKENS_A_BAR + 1)
