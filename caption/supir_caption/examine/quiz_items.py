"""The quiz: questions about a crop that a model with the picture makes, answered by one that has a caption alone.

Place in the flow: `quiz` asks. The law: whoever answers sees one caption and no picture; the options come in an order
of their own for each question, the same for each caption, so that no place is favoured and captions are compared on the
same paper; "the text does not say" is always an option.
Source: caption quality as what a reader without the picture can answer from it, CapRL (arXiv 2509.22647).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supir_caption.cleaning import without_thinking
from supir_caption.json_answers import object_in

NUM_OPTIONS = 4
LETTERS = "ABCDE"
NOT_SAID = "The text does not say."
_LETTER = re.compile(r"(?<![A-Za-z])([A-E])(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Item:
    """One question; the first of its options is the right one."""

    question: str
    options: tuple[str, ...]


def making_words(number: int) -> str:
    """Returns what the model with the picture is asked."""
    return (
        f"Write {number} multiple-choice questions about this image for someone who must prove to have seen it"
        " closely: about things and their parts, materials, surface textures, patterns, colours, numbers of things,"
        " writing, light."
        " Each question must be answerable by looking at the image, and not by guessing or general knowledge; it must"
        " not give away another's answer. Give four short options each, of which exactly one is right.\n"
        'Answer with a JSON object: {"questions": [{"question": "…", "right": "…", "wrong": ["…", "…", "…"]}, …]}'
    )


def making_schema(number: int) -> dict[str, Any]:
    """Returns the JSON schema of the answer to `making_words`."""
    text = {"type": "string", "minLength": 1, "maxLength": 200}
    wrong = {"type": "array", "items": text, "minItems": NUM_OPTIONS - 1, "maxItems": NUM_OPTIONS - 1}
    question = {
        "type": "object",
        "properties": {"question": text, "right": text, "wrong": wrong},
        "required": ["question", "right", "wrong"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "questions": {"type": "array", "items": question, "minItems": number, "maxItems": number}
        },
        "required": ["questions"],
        "additionalProperties": False,
    }


def items_in(answer: str, most: int) -> list[Item]:
    """Returns the questions of an answer that are whole: four options that differ; at most `most`, none twice."""
    given = object_in(without_thinking(answer)).get("questions")
    items: dict[str, Item] = {}
    for one in given if isinstance(given, list) else []:
        item = _item(one)
        if item is not None:
            items.setdefault(item.question.lower(), item)
    return list(items.values())[:most]


def _item(given: Any) -> Item | None:
    if not isinstance(given, dict):
        return None
    question, right, wrong = (given.get(name) for name in ("question", "right", "wrong"))
    if not (isinstance(question, str) and isinstance(right, str) and isinstance(wrong, list)):
        return None
    options = tuple(" ".join(str(option).split()) for option in (right, *wrong))
    question = " ".join(question.split())
    distinct = {option.lower().rstrip(".") for option in options}
    is_whole = question and len(options) == len(distinct) == NUM_OPTIONS and "" not in distinct
    return Item(question, options) if is_whole else None


def option_order(item: Item) -> list[int]:
    """Returns the order in which the options are shown: by a hash of the question and the option."""
    return sorted(
        range(NUM_OPTIONS), key=lambda index: zlib.crc32(f"{item.question}/{item.options[index]}".encode())
    )


def answering_words(text: str, item: Item) -> str:
    """Returns what the reader is asked: a caption, "" for none, and one question."""
    shown = [item.options[index] for index in option_order(item)] + [NOT_SAID]
    options = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, shown, strict=True))
    said = (
        f'This text describes an image that you cannot see:\n"{text}"'
        if text
        else "There is an image that you cannot see."
    )
    return (
        f"{said}\n\nQuestion about the image: {item.question}\n{options}\n\n"
        f"Answer from the text alone, with one letter; {LETTERS[NUM_OPTIONS]} unless the text says or implies it."
    )


def is_right(answer: str, item: Item) -> bool:
    """Returns whether an answer to `answering_words` chose the right option; no letter, or several, is not right."""
    letters = set(_LETTER.findall(without_thinking(answer).strip()))
    if len(letters) != 1:
        return False
    number = LETTERS.index(letters.pop())
    return number < NUM_OPTIONS and option_order(item)[number] == 0


@dataclass(frozen=True, slots=True)
class Crop:
    """What readers got right about one crop: of its questions, by its own caption, by the whole picture's, by none."""

    questions: int
    region: int
    whole: int
    without: int


def quiz_summary(crops: Sequence[Crop]) -> dict[str, Any]:
    """Returns the figures: questions answered rightly from each caption, and the gain of region over whole.

    The gain is in questions, and a hundred questions' share with a 95 % interval over crops (normal, of paired
    differences a crop), for the questions about one crop stand or fall together.
    """
    asked = [crop for crop in crops if crop.questions]
    questions = sum(crop.questions for crop in asked)
    right = {name: sum(getattr(crop, name) for crop in asked) for name in ("region", "whole", "without")}
    return {
        "crops": len(asked),
        "questions": questions,
        "right": right,
        "shares": {name: round(number / questions, 4) for name, number in right.items()} if questions else {},
        "gain": right["region"] - right["whole"],
        "gain_share": _gain(asked, questions),
    }


def _gain(crops: Sequence[Crop], questions: int) -> dict[str, float] | None:
    """The gain a question with its interval: a ratio over crops, its variance by the usual linearisation."""
    if not questions:
        return None
    number = len(crops)
    share = sum(crop.region - crop.whole for crop in crops) / questions
    rests = [crop.region - crop.whole - share * crop.questions for crop in crops]
    spread = (
        (sum(rest**2 for rest in rests) * number / (number - 1)) ** 0.5 / questions if number > 1 else 1.0
    )
    half = 1.96 * spread
    return {
        "share": round(share, 4),
        "low": round(max(-1.0, share - half), 4),
        "high": round(min(1.0, share + half), 4),
    }
