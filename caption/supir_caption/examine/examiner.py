"""Who examines captions: one that is asked a question, about a picture or without one, and answers in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from supir_caption.models import Ask, answer_seed

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.models import Model


@dataclass(frozen=True, slots=True)
class Exam:
    """One question.

    Attributes:
        key: of the sample.
        number: tells the questions about one sample apart.
        words: the question.
        image: what it is about, RGB; None for a question about a text.
        schema: JSON schema of the answer, None for plain text.
        max_tokens: of the answer.
    """

    key: str
    number: int
    words: str
    image: Image | None = None
    schema: dict[str, Any] | None = None
    max_tokens: int = 512


class Examiner(Protocol):
    """Answers questions.

    Attributes:
        name: of the model.
    """

    name: str

    def answers(self, exams: Sequence[Exam]) -> list[str]:
        """Returns the answer to each question, "" where there is none."""


class ModelExaminer:
    """Answers with one of the engines' models, greedily.

    Args:
        model: loaded.
        seed: of what little its sampling draws at temperature 0.
    """

    def __init__(self, model: Model, seed: int) -> None:
        self._model, self._seed = model, seed
        self.name = model.name

    def answers(self, exams: Sequence[Exam]) -> list[str]:
        """Returns the answer to each question, "" where the model refuses it."""
        answers = [""] * len(exams)
        waiting = deque(self._ask(place, exam) for place, exam in enumerate(exams))
        in_flight = 0
        while waiting or in_flight:
            while waiting and in_flight < self._model.capacity:
                ask = waiting.popleft()
                self._model.submit(ask, self._model.prepare(ask))
                in_flight += 1
            for ask, answer in self._model.collect():
                answers[ask.stage] = "" if answer.error else answer.text
                in_flight -= 1
        return answers

    def _ask(self, place: int, exam: Exam) -> Ask:
        """The question; its stage is its place among the questions, by which the answer finds it."""
        return Ask(
            exam.key,
            exam.number,
            place,
            0,
            exam.words,
            None if exam.image is None else self._model.view(exam.image),
            0.0,
            exam.max_tokens,
            answer_seed(self._seed, exam.key, exam.number, place, 0),
            exam.schema,
        )
