"""A voter's way through a ballot: the question that is asked now, its two pictures, and what could not be asked.

Place in the flow: `vote_server` hands requests in, one at a time; `vote_cli` makes it and prints what it found.
The law it keeps: nothing that leaves it tells which method a picture is of: pictures are decoded and written anew,
without name, metadata or origin, under an address drawn for this question. A pair that cannot be compared fairly (a
picture that cannot be read, sizes that differ, no pixel that differs) is not asked, and is told apart.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from supir_infer.ballot import CHOICES, Answer, BallotBox, Choice, Question, questions
from supir_infer.evaluate import opaque
from supir_infer.images import ByteImage, ImageError, Picture, read_picture, to_bytes
from supir_quality.metric import file_sha256


class NotAsked(ValueError):  # noqa: N818 - a page that is behind, never a defect
    """An answer to a question that is not asked now, or that is none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question that is asked now: its number on the page, and PNGs by the last part of their address."""

    id: str
    question: Question
    sha256s: tuple[str, str]
    addresses: tuple[str, str, str | None]
    pictures: Mapping[str, bytes]


@dataclass(slots=True)
class VoteSession:
    """What a voter is asked.

    Args:
        methods: files by method and picture; the keys are the methods' names.
        lq: what the pictures were made from, by name; a picture without one is asked without.
        box: where answers go.
        voter: who is asked.
        seed: of the order.
        limit: answers after which the voter is done, None for all questions.
    """

    methods: Mapping[str, Mapping[str, Path]]
    lq: Mapping[str, Path]
    box: BallotBox
    voter: str
    seed: int
    limit: int | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    identical: list[str] = field(default_factory=list)
    stale: int = 0
    _open: list[Question] = field(default_factory=list)
    _asked: Asked | None = None
    _num_answered: int = 0
    _hashes: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lays out what is still to be asked."""
        names = sorted(set().union(*self.methods.values()))
        by_picture = {
            name: [method for method in self.methods if name in self.methods[method]] for name in names
        }
        answered = {answer.question().asks() for answer in self.answers() if answer.voter == self.voter}
        everything = questions(by_picture, self.seed, self.voter)
        self._open = [question for question in everything if question.asks() not in answered]
        self._num_answered = len(everything) - len(self._open)
        self._ask()

    def answers(self) -> list[Answer]:
        """Returns the answers, of all voters, that are about these files as they are now, wherever they lie."""
        found = [here for answer in self.box.answers if (here := self._here(answer))]
        self.stale = len(self.box.answers) - len(found)
        return found

    def _here(self, answer: Answer) -> Answer | None:
        """The answer with the methods as they are called now, by the files' hashes; None where a file is not here."""
        here = {
            self._sha256(files[answer.picture]): method
            for method, files in self.methods.items()
            if answer.picture in files
        }
        left, right = here.get(answer.left_sha256), here.get(answer.right_sha256)
        return answer.model_copy(update={"left": left, "right": right}) if left and right else None

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = file_sha256(path)
        return self._hashes[path]

    def state(self) -> dict[str, Any]:
        """Returns what the page shows: the question's number, its pictures' addresses, how many are answered."""
        answered = self._num_answered
        remaining = (
            len(self._open) if self.limit is None else max(0, min(len(self._open), self.limit - answered))
        )
        state: dict[str, Any] = {
            "answered": answered,
            "total": answered + remaining,
            "finished": self.is_finished(),
        }
        if self._asked is not None and not state["finished"]:
            one, two, given = self._asked.addresses
            state |= {"id": self._asked.id, "one": one, "two": two, "given": given}
        return state

    def is_finished(self) -> bool:
        """Returns whether nothing is left to ask."""
        return self._asked is None or (self.limit is not None and self._num_answered >= self.limit)

    def picture(self, address: str) -> bytes | None:
        """Returns the PNG at an address, None where this question has none such."""
        return self._asked.pictures.get(address) if self._asked else None

    def vote(self, question_id: object, choice: object, seconds: object) -> None:
        """Takes an answer and asks the next question.

        Raises:
            NotAsked: the answer is to another question, or none of the three.
            OSError: it could not be written.
        """
        if self._asked is None or question_id != self._asked.id:
            raise NotAsked("this question has its answer already; the next one is shown")
        if choice not in CHOICES:
            raise NotAsked(f"{choice!r} is no answer; use {', '.join(CHOICES)}")
        took = float(seconds) if isinstance(seconds, int | float) and np.isfinite(seconds) else 0.0
        chosen: Choice = choice
        self.box.put(self._asked.question, self._asked.sha256s, chosen, self.voter, took)
        self._open.pop(0)
        self._num_answered += 1
        self._ask()

    def back(self) -> None:
        """Takes the voter's last answer back and asks its question again.

        Raises:
            OSError: it could not be written.
        """
        own = [answer for answer in self.answers() if answer.voter == self.voter]
        if own:
            self.box.take_back(own[-1].id)
            self._open.insert(0, own[-1].question())
            self._num_answered -= 1
            self._ask()

    def _ask(self) -> None:
        """Makes the first open question that can be asked the one that is."""
        self._asked = None
        while self._open and self._asked is None:
            self._asked = self._prepared(self._open[0])
            if self._asked is None:
                self._open.pop(0)

    def _prepared(self, question: Question) -> Asked | None:
        title = f"{question.picture}: {question.left} and {question.right}"
        try:
            left, right = (
                read_picture(self.methods[method][question.picture])
                for method in (question.left, question.right)
            )
            given = read_picture(self.lq[question.picture]) if question.picture in self.lq else None
        except ImageError as error:
            self.left_out[title] = str(error)
            return None
        sides = [_pixels(left), _pixels(right)]
        if sides[0].shape != sides[1].shape:
            sizes = " and ".join(f"{side.shape[1]}x{side.shape[0]}" for side in sides)
            self.left_out[title] = f"{sizes} px; only equal sizes are compared"
            return None
        if np.array_equal(sides[0], sides[1]):
            self.identical.append(title)
            return None
        addresses = (secrets.token_hex(8), secrets.token_hex(8), secrets.token_hex(8) if given else None)
        shown = zip(addresses, [*sides, _enlarged(given, sides[0]) if given else None], strict=True)
        return Asked(
            id=secrets.token_hex(8),
            question=question,
            sha256s=(left.sha256, right.sha256),
            addresses=addresses,
            pictures={address: _png(pixels) for address, pixels in shown if address and pixels is not None},
        )


def _pixels(picture: Picture) -> ByteImage:
    return to_bytes(opaque(picture))


def _enlarged(given: Picture, like: ByteImage) -> ByteImage:
    """The LQ at the size of the results, pixel by pixel, so that it lies under them."""
    size = (like.shape[1], like.shape[0])
    return np.asarray(Image.fromarray(_pixels(given)).resize(size, Image.Resampling.NEAREST))


def _png(pixels: ByteImage) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def missing_pictures(methods: Mapping[str, Mapping[str, Path]]) -> dict[str, Sequence[str]]:
    """Returns the pictures that each method lacks and another has."""
    every = set().union(*methods.values())
    lacking = {method: sorted(every - files.keys()) for method, files in methods.items()}
    return {method: names for method, names in lacking.items() if names}
