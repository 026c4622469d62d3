"""The quiz: how many questions about a crop can be answered from its own caption, and how many from the picture's.

Place in the flow: `supir-caption quiz`, after a run with regions. One model sees the crop and makes the questions;
another, or the same without the picture, reads one caption and answers. The law: see `quiz_items`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from supir_caption.examine.examiner import Exam, Examiner
from supir_caption.examine.quiz_items import (
    Crop,
    Item,
    answering_words,
    is_right,
    items_in,
    making_schema,
    making_words,
    quiz_summary,
)
from supir_caption.pages.stored import Stored
from supir_caption.pages.tally import Example, Fewest
from supir_caption.pages.views import crops

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 32  # pictures that are held
TOKENS_A_QUESTION = 160  # with its options
MAX_ANSWER_TOKENS = 256  # a letter, and what a model thinks before it


@dataclass(frozen=True, slots=True)
class QuizRow:
    """One question about one crop, and from which captions it was answered rightly."""

    part: str
    key: str
    region: int
    question: str
    options: tuple[str, ...]
    region_right: bool
    whole_right: bool
    without_right: bool


def quiz(
    stored: Stored, maker: Examiner, reader: Examiner, number: int, questions: int
) -> tuple[list[QuizRow], dict[str, Any]]:
    """Returns a row for each question, and the figures as JSON-serialisable values.

    Args:
        stored: captions of whole pictures and regions.
        maker: sees the crops and asks.
        reader: reads captions and answers.
        number: of crops.
        questions: about each.
    """
    sample = Fewest(number, "quiz")
    for part, caption in stored.captions():
        if caption.region and caption.text:
            sample.add(Example(part, caption))
    chosen = sample.examples()
    whole = _whole_captions(stored, chosen)
    rows: list[QuizRow] = []
    results: list[Crop] = []
    pictures = crops(stored.dataset, chosen)
    while batch := list(islice(pictures, AT_ONCE)):
        made = _made(maker, batch, questions)
        answered = _answered(reader, made, whole)
        for _, items in made:
            of_crop = list(islice(answered, len(items)))
            rows += of_crop
            results.append(
                Crop(
                    len(of_crop),
                    sum(row.region_right for row in of_crop),
                    sum(row.whole_right for row in of_crop),
                    sum(row.without_right for row in of_crop),
                )
            )
    about = {"maker": maker.name, "reader": reader.name}
    without = sum(not one.questions for one in results)
    return rows, {**about, **quiz_summary(results), "crops_without_questions": without}


def _made(
    maker: Examiner, batch: list[tuple[Example, Image]], questions: int
) -> list[tuple[Example, list[Item]]]:
    """The questions about each crop of a batch."""
    words, schema = making_words(questions), making_schema(questions)
    exams = [
        Exam(example.caption.key, example.caption.region, words, image, schema, TOKENS_A_QUESTION * questions)
        for example, image in batch
    ]
    answers = maker.answers(exams)
    return [
        (example, items_in(answer, questions)) for (example, _), answer in zip(batch, answers, strict=True)
    ]


def _answered(
    reader: Examiner, made: list[tuple[Example, list[Item]]], whole: dict[str, str]
) -> Iterator[QuizRow]:
    """A row for each question, in their order; each is answered from three texts."""
    asked = [
        (example, item, (example.caption.text, whole[example.caption.key], ""))
        for example, items in made
        for item in items
    ]
    exams = [
        Exam(example.caption.key, number, answering_words(text, item), max_tokens=MAX_ANSWER_TOKENS)
        for number, (example, item, texts) in enumerate(asked)
        for text in texts
    ]
    answers = iter(reader.answers(exams))
    for example, item, texts in asked:
        region, of_whole, without = (is_right(next(answers), item) for _ in texts)
        caption = example.caption
        yield QuizRow(
            example.part, caption.key, caption.region, item.question, item.options, region, of_whole, without
        )


def _whole_captions(stored: Stored, chosen: list[Example]) -> dict[str, str]:
    """The texts of the whole pictures, by sample key; "" where there is none."""
    keys = {example.caption.key for example in chosen}
    texts = dict.fromkeys(keys, "")
    for part in sorted({example.part for example in chosen}):
        for key, captions in stored.read(part).items():
            if key in keys:
                texts[key] = next((one.text for one in captions if not one.region), "")
    return texts
