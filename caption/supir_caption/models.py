"""What answers one question about one picture: the words that go to a model, those that come back, and who speaks.

Place in the flow: `asking` asks, `vllm_model`, `openai_model` and `transformers_model` answer. Nothing here is heavy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from supir_caption.picture import NO_TOKENS, Tokens

if TYPE_CHECKING:
    from PIL.Image import Image

STOP = "stop"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one view of one picture.

    Attributes:
        key: of the sample.
        region: 0 is the whole picture.
        stage: which of the place's questions, from 0.
        attempt: from 0.
        words: the question.
        image: RGB, as the model is given it; None for a question about words alone.
        temperature: of the sampling, 0 is greedy.
        max_tokens: of the answer.
        seed: of the sampling.
        schema: JSON schema of the answer, None for plain text.
    """

    key: str
    region: int
    stage: int
    attempt: int
    words: str
    image: Image | None
    temperature: float
    max_tokens: int
    seed: int
    schema: Mapping[str, Any] | None = None

    @property
    def view(self) -> str:
        """Names the view of the picture: the same for every question about it."""
        return f"{self.key}/{self.region}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's words; `error` says that it will not answer this question, and why."""

    text: str
    finish_reason: str = STOP
    tokens: Tokens = NO_TOKENS
    error: str = ""


class Model(Protocol):
    """What answers. `prepare` may run in threads beside the other two, which one thread calls.

    Attributes:
        name: what the captions are signed with.
        capacity: questions that it works on at once.
    """

    name: str
    capacity: int

    def view(self, image: Image) -> Image:
        """Returns the picture as it is to be given to the model."""

    def prepare(self, ask: Ask) -> Any:
        """Returns the CPU half of a question."""

    def submit(self, ask: Ask, prepared: Any) -> None:
        """Takes a question."""

    def collect(self) -> list[tuple[Ask, Answer]]:
        """Returns answers that have come since; it works or waits a while for some, and may return none.

        Raises:
            UserError: the model answers nobody, and only the user can mend that.
        """


def answer_seed(seed: int, key: str, region: int, stage: int, attempt: int) -> int:
    """Returns the 31-bit seed of one answer: a hash, so it does not depend on workers, batches or order."""
    digest = hashlib.sha256(f"{seed}/{key}/{region}/{stage}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
