"""Words in a caption that a reader of the dataset should know of; they are recorded, nothing is dropped.

Why: a captioner that sees a degraded picture names the degradation (LLaVA-1.6-13B in 17% of cases,
Qwen2.5-VL-7B in 24%: LucidFlux, arXiv 2509.22414), and a prompt with "blurry" in it teaches the restorer to
keep the blur.
"""

from __future__ import annotations

import re
from collections import Counter

# A defocused background is composition, not damage, so "blurred background" stays allowed.
_DEGRADATION = re.compile(
    r"\bblur(?:ry|red|riness)\b(?! (?:\w+ )?background)|\bnois[ey]\b|\bgrain(?:y|iness)\b"
    r"|\bpixel(?:ated|ation|ization)\b|\b(?:jpe?g|compression|visual|image) (?:artifacts?|artefacts?)\b"
    r"|\blow[- ](?:res|resolution|quality)\b|\bpoor(?:ly)?[- ](?:quality|lit|focused)\b"
    r"|\bout[- ]of[- ]focus\b|\b(?:over|under)-?exposed\b|\bwashed[- ]out\b"
    r"|\bdistorted\b|\bwatermarks?\b|\bdegraded\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bI(?:'m| am) sorry\b|\bI (?:cannot|can't|am unable to|am not able to)\b|\bas an AI\b"
    r"|\blanguage model\b|\bno image (?:was )?(?:provided|attached)\b",
    re.IGNORECASE,
)
_HEDGING = re.compile(
    r"\b(?:appears?|seems?) to\b|\bpossibly\b|\bperhaps\b|\b(?:might|may|could) be\b"
    r"|\b(?:most )?likely\b|\bsuggest(?:s|ing)\b",
    re.IGNORECASE,
)
_REPEATED_WORDS = 4
_REPEATED_TIMES = 3


def lint(text: str) -> dict[str, str]:
    """Returns what was found: `degradation`, `refusal`, `hedging`, `repetition`, each with the words.

    Args:
        text: one dense caption; an empty one is reported as `empty`.
    """
    if not text.strip():
        return {"empty": "no text"}
    found = {
        "degradation": _matches(_DEGRADATION, text),
        "refusal": _matches(_REFUSAL, text),
        "hedging": _matches(_HEDGING, text),
        "repetition": _repeated(text),
    }
    return {name: words for name, words in found.items() if words}


def _matches(pattern: re.Pattern[str], text: str) -> str:
    return ", ".join(dict.fromkeys(match.group().lower() for match in pattern.finditer(text)))


def _repeated(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    runs = Counter(tuple(words[i : i + _REPEATED_WORDS]) for i in range(len(words) - _REPEATED_WORDS + 1))
    run, times = runs.most_common(1)[0] if runs else ((), 0)
    return f"{times} x {' '.join(run)}" if times >= _REPEATED_TIMES else ""
