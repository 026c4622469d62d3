"""A model's raw answer as one paragraph of caption: thinking, wrappings, markdown and talk are taken off, and counted.

Place in the flow: an engine's answer goes through `clean` before it is checked, cut or stored. The law: what is taken
off says nothing about the picture; the words that stay are the model's, in their order, and clean text is left as it
is. A refusal is not cleaned away (`lint.py` finds it); an answer with nothing else in it becomes "".
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field

from supir_caption.json_answers import text_of_json
from supir_caption.splitting import ENDS
from supir_caption.talk import without_closing, without_opening

_SPECIAL = re.compile(
    r"<\|(?:im_)?start\|>(?:assistant|user|system)?|<\|channel\|>\w*|<\|[^<>|\n]{1,40}\|>|</?s>|\[/?INST\]"
    r"|<(?:end_of_turn|start_of_turn|eos|bos|pad|image)>|</?answer>",
    re.IGNORECASE,
)
_THINK = r"think(?:ing)?|thought|reasoning|reflection|scratchpad"
_THOUGHT = re.compile(
    rf"<({_THINK})>.*?(?:</\1>|\Z)"
    r"|◁think▷.*?(?:◁/think▷|\Z)"
    r"|<\|channel\|>(?:analysis|commentary)\b.*?(?:<\|end\|>|(?=<\|start\|>)|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHT_ENDS = re.compile(rf"\A.*(?:</(?:{_THINK})>|◁/think▷)", re.IGNORECASE | re.DOTALL)
# What follows the end of the answer is another turn that the model made up.
_NEXT_TURN = re.compile(r"(?<=\S)\s*<\|(?:endoftext|im_end|eot_id|end)\|>.*\Z", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_HEADING = re.compile(
    r"^[ \t]{0,3}#{1,6}[ \t]+[^\n]*$\n?"
    r"|^[ \t]*(?:\*\*|__)?[Tt]itle(?:\*\*|__)?:[^\n]*$\n?"
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
_QUOTE_MARK = re.compile(r"^[ \t]{0,3}>[ \t]?", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t:|-]*-{3,}[ \t:|-]*$\n?", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.+)\|[ \t]*$", re.MULTILINE)
_BOXED = re.compile(r"\A\s*\\boxed\{(?:\\text\{)?(.*?)\}{1,2}\s*\Z", re.DOTALL)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•‣▪]|\d{1,2}[.)])[ \t]+(?=\S)", re.MULTILINE)
_PICTURE_LINK = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:https?:|/|#|data:)[^)\n]*\)")
_EMPHASIS = re.compile(r"(?<![\w*_])(\*\*\*|\*\*|__|\*|_|`)(?=\S)([^*_`\n]+?)(?<=\S)\1(?![\w*_])")
_STRAY = re.compile(r"(?<!\*)\*\*(?!\*)|(?<!\w)__(?!\w)")
_HTML = re.compile(
    r"</?(?:p|br|b|i|em|strong|ul|ol|li|div|span|h[1-6]|caption|description)\b[^<>\n]{0,100}>", re.IGNORECASE
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "'": "'"}


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

    text = cut(_THOUGHT, answer, "think")
    text = cut(_NEXT_TURN, text, "token")
    text = cut(_SPECIAL, text, "token")
    text = cut(_THOUGHT_ENDS, text, "think")  # templates that open the thinking themselves leave only its end
    text = cut(_FENCE, text, "fence")
    text = text.replace("\\n\\n", "\n\n")  # written out, by a server that escaped its answer twice
    text = cut(_BOXED, text, "token", r"\1")
    text = _without_opening(text.strip(), removed)
    unwrapped = text_of_json(text)
    if unwrapped is not None:
        removed["json"] += 1
        text = unwrapped
    text = html.unescape(cut(_HTML, text, "html", " "))
    text = cut(_PICTURE_LINK, cut(_QUOTE_MARK, text, "quote_mark"), "link")
    text = cut(_LINK, text, "link", r"\1")
    text = _without_table(text, removed)
    text = _without_headings(text, removed)
    text = cut(_META_LABEL, text, "label")
    text = _as_sentences(text, removed)
    text = cut(_STRAY, cut(_EMPHASIS, cut(_EMPHASIS, text, "emphasis", r"\2"), "emphasis", r"\2"), "emphasis")
    text = _without_opening(text.strip(), removed)
    text, times = without_closing(_unquoted(" ".join(text.split()), removed))
    removed["closing"] += times
    return Cleaned(text.strip(), {kind: times for kind, times in removed.items() if times})


def _without_opening(text: str, removed: Counter[str]) -> str:
    text, times = without_opening(text)
    removed["opening"] += times
    return text


def _without_table(text: str, removed: Counter[str]) -> str:
    """A table's rows become sentences of their cells; its first row, above the rule, names columns and is dropped."""
    if not (_TABLE_RULE.search(text) and _TABLE_ROW.search(text)):
        return text
    removed["table"] += 1
    text = re.sub(rf"(?:{_TABLE_ROW.pattern})\n(?={_TABLE_RULE.pattern})", "", text, flags=re.MULTILINE)
    return _TABLE_ROW.sub(
        lambda row: ": ".join(cell.strip() for cell in row[1].split("|") if cell.strip()) + ".",
        _TABLE_RULE.sub("", text),
    )


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


def _unquoted(text: str, removed: Counter[str]) -> str:
    end = _QUOTES.get(text[:1])
    if end is None or len(text) < 3 or not text.endswith(end) or end in text[1:-1]:
        return text
    removed["quotes"] += 1
    return text[1:-1].strip()
