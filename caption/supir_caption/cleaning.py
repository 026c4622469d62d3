"""A model's raw answer as one paragraph of caption: thinking, wrappings, markdown and talk are taken off, and counted.

Place in the flow: an engine's answer goes through `clean` before it is checked, cut or stored. The law: what is taken
off says nothing about the picture; the words that stay are the model's, in their order, and clean text is left as it
is. A refusal is not cleaned away (`lint.py` finds it); an answer with nothing else in it becomes "".
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from supir_caption.json_answers import text_of_json
from supir_caption.splitting import ENDS, split_sentences

_SPECIAL = re.compile(
    r"<\|im_start\|>(?:assistant|user|system)?|<\|[^<>|\n]{1,40}\|>|</?s>|\[/?INST\]"
    r"|<(?:end_of_turn|start_of_turn|eos|bos|pad|image)>|</?answer>",
    re.IGNORECASE,
)
_THINK = r"think(?:ing)?|thought|reasoning|reflection|scratchpad"
_THOUGHT = re.compile(rf"<({_THINK})>.*?(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
_THOUGHT_ENDS = re.compile(rf"\A.*</(?:{_THINK})>", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_HEADING = re.compile(
    r"^[ \t]{0,3}#{1,6}[ \t]+[^\n]*$\n?"
    r"|^[ \t]*(?:\*\*|__)[^*_\n]{1,80}?:?(?:\*\*|__):?[ \t]*$\n?"
    r"|^[ \t]*(?:-{3,}|={3,}|\*{3,})[ \t]*$\n?",
    re.MULTILINE,
)
_HASHES = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+", re.MULTILINE)
_META_LABEL = re.compile(
    r"^[ \t]*(?:[-*•][ \t]+)?(?:\*\*|__|#+[ \t]*)?"
    r"(?:(?:image|scene|detailed|full|short|long|final|visual|photo|picture) )?"
    r"(?:caption|description|summary|overview|answer|response|output|title)(?:\*\*|__)?[ \t]*:(?:\*\*|__)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•‣▪]|\d{1,2}[.)])[ \t]+(?=\S)", re.MULTILINE)
_PICTURE_LINK = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:https?:|/|#|data:)[^)\n]*\)")
_EMPHASIS = re.compile(r"(?<![\w*_])(\*\*\*|\*\*|__|\*|_|`)(?=\S)([^*_`\n]+?)(?<=\S)\1(?![\w*_])")
_STRAY = re.compile(r"(?<!\*)\*\*(?!\*)|(?<!\w)__(?!\w)")
_HTML = re.compile(
    r"</?(?:p|br|b|i|em|strong|ul|ol|li|div|span|h[1-6]|caption|description)\b[^<>\n]{0,100}>", re.IGNORECASE
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "'": "'"}

_NOUN = r"(?:description|caption|summary|breakdown|analysis|response|answer|prompt)"
_HERE_IS = (
    r"here(?:'s|’s| is| are| you go:?)|below is|the following is|this is|i(?:'ve| have) (?:written|prepared|created)"
    "|i will provide"
)
_OPENING = re.compile(
    r"\A(?:"
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|no problem|great|got it|yes)\s*[!,.:]\s*(?=\S)"
    rf"|(?:{_HERE_IS}) [^.:!?\n]{{0,60}}?\b{_NOUN}s?\b[^.:!?\n]{{0,80}}(?:[:.!]|\n)\s*"
    r"|(?:i'd be|i would be|i am|i'm) (?:happy|glad|delighted) to [^.!?\n]{0,80}[.!:]\s*"
    r"|(?:what an?|great|nice|lovely|beautiful|amazing|wonderful|gorgeous) (?:\w+ )?(?:image|picture|photo|shot)\s*!\s*"
    r"|based on (?:the|your|what is visible in the) (?:\w+ )?(?:image|picture|photo)"
    r"(?: (?:you )?(?:provided|shared|uploaded))?,\s*"
    r"|(?:assistant|caption|description|answer|response|output)\s*:\s*"
    r")",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"^(?:(?:please )?(?:let me know|feel free|do not hesitate|don't hesitate)|(?:i )?hope (?:this|that|it)"
    r"|would you like|is there anything else|if you (?:have|need|would like|want|wish|require|'d like)"
    r"|(?:please )?(?:note|keep in mind) that this (?:description|caption)|thank you|happy to help"
    rf"|this {_NOUN} (?:is based|was generated|captures|provides|aims|covers)|do you (?:want|need|have))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A caption's text, and how many of each kind of thing were taken off it: think, json, fence, heading, …."""

    text: str
    removed: dict[str, int] = field(default_factory=dict)

    def check(self) -> str:
        """Returns what was removed as it stands in a caption's checks: "heading 2, think 1"; "" for nothing."""
        return ", ".join(f"{kind} {times}" for kind, times in sorted(self.removed.items()))


def clean(answer: str) -> Cleaned:
    """Returns a model's answer as one paragraph, and what was taken off it.

    Args:
        answer: as the model wrote it; may be JSON, markdown, or cut off anywhere.
    """
    removed: Counter[str] = Counter()

    def cut(pattern: re.Pattern[str], text: str, kind: str, by: str = "") -> str:
        text, times = pattern.subn(by, text)
        removed[kind] += times
        return text

    text = cut(_SPECIAL, answer, "token")
    text = cut(_THOUGHT, text, "think")
    text = cut(_THOUGHT_ENDS, text, "think")  # templates that open the thinking themselves leave only its end
    text = cut(_FENCE, text, "fence")
    text = _without_opening(text.strip(), removed)
    unwrapped = text_of_json(text)
    if unwrapped is not None:
        removed["json"] += 1
        text = unwrapped
    text = cut(_PICTURE_LINK, cut(_HTML, text, "html", " "), "link")
    text = cut(_LINK, text, "link", r"\1")
    text = _without_headings(text, removed)
    text = cut(_META_LABEL, text, "label")
    text = _as_sentences(text, removed)
    text = cut(_STRAY, cut(_EMPHASIS, cut(_EMPHASIS, text, "emphasis", r"\2"), "emphasis", r"\2"), "emphasis")
    text = _without_opening(text.strip(), removed)
    text = _without_closing(_unquoted(" ".join(text.split()), removed), removed)
    return Cleaned(text, {kind: times for kind, times in removed.items() if times})


def _without_headings(text: str, removed: Counter[str]) -> str:
    bare, times = _HEADING.subn("", text)
    if not bare.strip():  # the whole caption was written as a heading
        bare, times = _STRAY.sub("", _HASHES.sub("", text)), len(_HASHES.findall(text)) or times
    removed["heading"] += times
    return bare


def _as_sentences(text: str, removed: Counter[str]) -> str:
    """Items of a list and lines of their own become sentences, so that joining the lines joins no two of them."""
    lines = []
    for line in text.splitlines():
        item, times = _LIST_ITEM.subn("", line)
        removed["list"] += times
        item = item.strip()
        if times and item and item.rstrip("*_\"'”’)")[-1:] not in f"{ENDS}:,;":
            item += "."
        lines.append(item)
    return "\n".join(lines)


def _without_opening(text: str, removed: Counter[str]) -> str:
    while match := _OPENING.match(text):
        rest = text[match.end() :].lstrip(" :\n")
        if not rest:
            return text if removed["opening"] == 0 and not match.group().rstrip().endswith(":") else ""
        removed["opening"] += 1
        text = rest[0].upper() + rest[1:]
    return text


def _without_closing(text: str, removed: Counter[str]) -> str:
    parts = split_sentences(text)
    number = len(parts)
    while number and _CLOSING.match(parts[number - 1]):
        number -= 1
    removed["closing"] += len(parts) - number
    return text if number == len(parts) else " ".join(parts[:number])


def _unquoted(text: str, removed: Counter[str]) -> str:
    end = _QUOTES.get(text[:1])
    if end is None or len(text) < 3 or not text.endswith(end) or end in text[1:-1]:
        return text
    removed["quotes"] += 1
    return text[1:-1].strip()
