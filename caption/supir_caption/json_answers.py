"""The caption in an answer that is JSON, whole or cut off, with or without words around it."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_FIELDS = (
    "caption", "captions", "dense_caption", "detailed_caption", "long_caption", "description", "detailed_description",
    "dense", "text", "answer", "content", "response", "output", "summary", "short_caption",
)  # fmt: skip
_MAX_AROUND = 0.3  # share of an answer that words around its JSON may be
_MAX_AROUND_FIELD = 0.7  # the same where the JSON has a field for the caption: the words around are talk then
_CUT_OFF = re.compile(
    r'\A\s*\{.*?"(?:' + "|".join(_FIELDS) + r')"\s*:\s*"(?P<text>(?:[^"\\]|\\.)*)', re.DOTALL
)


def text_of_json(answer: str) -> str | None:
    """Returns the text of the caption in a JSON answer, None if the answer is no JSON.

    Args:
        answer: an object or a list; a field such as "caption" or "description" wins, else all texts in order.
    """
    start = min((at for at in (answer.find("{"), answer.find("[")) if at >= 0), default=-1)
    if start < 0:
        return None
    try:
        value, length = json.JSONDecoder(strict=False).raw_decode(answer[start:])
    except (ValueError, RecursionError):
        return _python_text(answer[start:].strip()) or _cut_off(answer)
    before, after = answer[:start].strip(), answer[start + length :].strip()
    is_wrapped = isinstance(value, dict) and any(name in value for name in _FIELDS)
    if len(before) + len(after) > (_MAX_AROUND_FIELD if is_wrapped else _MAX_AROUND) * len(answer):
        return None
    return _text(value) or None


def _python_text(answer: str) -> str | None:
    """The text of an object that is written as Python writes it, in single quotation marks."""
    try:
        return _text(ast.literal_eval(answer)) or None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _cut_off(answer: str) -> str | None:
    """An object that ends in the middle: the text of its field as far as it goes."""
    match = _CUT_OFF.match(answer)
    if match is None:
        return None
    raw = re.sub(r"\\(?:u[0-9a-fA-F]{0,3})?\Z", "", match["text"])
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


def _text(value: Any) -> str:
    if isinstance(value, dict):
        by_name = {str(name).lower(): one for name, one in value.items()}
        chosen = next((by_name[name] for name in _FIELDS if by_name.get(name)), None)
        return _text(list(value.values()) if chosen is None else chosen)
    if isinstance(value, list):
        return " ".join(_ended(text) for one in value if (text := _text(one)))
    return value.strip() if isinstance(value, str) else ""


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", "。", "…")) else f"{text}."
