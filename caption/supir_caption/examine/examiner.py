"""Who examines captions: one that is asked a question, about a picture or without one, and answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image


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
