"""A blind vote: which questions are asked in which order, and the file that keeps the answers.

Place in the flow: `vote_server` asks and hands answers in, `vote_result` counts. The laws: the order of pictures,
pairs and sides is drawn from (seed, voter) and tells nothing; after any number of answers every picture was asked
about as often as every other, to one; an answer is on the disk before the next question; a run that was stopped
goes on behind the last answer. Answers keep the SHA-256 of the two files: they hold for these files wherever
they lie, and for no others.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from pydantic import BaseModel, ValidationError

from supir_console import UserError

HEAD = b'{"id": "'  # of every answer
Choice = Literal["left", "right", "tie"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True)
class Question:
    """One picture as two methods restored it, and which stands left."""

    picture: str
    left: str
    right: str

    def asks(self) -> tuple[str, frozenset[str]]:
        """Returns what is asked, whichever side is left."""
        return self.picture, frozenset((self.left, self.right))


class Answer(BaseModel):
    """A line of the file of votes."""

    id: str
    picture: str
    left: str
    right: str
    left_sha256: str
    right_sha256: str
    choice: Choice
    voter: str
    seconds: float
    at: str

    def question(self) -> Question:
        """Returns what was asked."""
        return Question(self.picture, self.left, self.right)


def questions(pictures: Mapping[str, Sequence[str]], seed: int, voter: str) -> list[Question]:
    """Returns all questions in the order in which they are asked.

    Args:
        pictures: by name, the methods that restored it.
        seed: of the order.
        voter: who is asked; another one gets another order.
    """
    digest = hashlib.sha256(f"{seed}\n{voter}".encode("utf-8", "surrogateescape")).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    pairs = {name: list(combinations(methods, 2)) for name, methods in pictures.items()}
    for of_one in pairs.values():
        draw.shuffle(of_one)
    asked = []
    for number in range(max((len(of_one) for of_one in pairs.values()), default=0)):
        names = [name for name, of_one in pairs.items() if number < len(of_one)]
        draw.shuffle(names)
        for name in names:
            left, right = pairs[name][number] if draw.random() < 0.5 else pairs[name][number][::-1]
            asked.append(Question(str(name), str(left), str(right)))
    return asked


class BallotBox:
    """The file of votes: one JSON line an answer, and one for each that was taken back.

    A last line that a crash tore is left out, and cut off before the next is written; others that are no votes are
    counted. Several voters' commands may write to one file at the same time.

    Args:
        path: of the file; it is made, with its folders, by the first answer.

    Raises:
        UserError: it is another file, which must not be written to.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.answers: list[Answer] = []
        self.bad_lines = 0
        self._whole_bytes = 0
        if path.exists():
            with path.open("rb") as stream:
                self._read(stream)
        if not self.answers and path.exists() and path.stat().st_size and not _begins_like_votes(path):
            raise UserError(f"{path} holds no votes; name a file of votes, or a new one, with -o")

    def put(
        self, question: Question, sha256s: tuple[str, str], choice: Choice, voter: str, seconds: float
    ) -> None:
        """Writes an answer; it is on the disk when this returns.

        Raises:
            OSError: it cannot be written; then it does not count.
        """
        answer = Answer(
            id=secrets.token_hex(8),
            **asdict(question),
            left_sha256=sha256s[0],
            right_sha256=sha256s[1],
            choice=choice,
            voter=voter,
            seconds=round(seconds, 2),
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        self._append(answer.model_dump())
        self.answers.append(answer)

    def take_back(self, answer_id: str) -> None:
        """Takes an answer back.

        Raises:
            OSError: it cannot be written; then the answer stays.
        """
        self._append({"taken_back": answer_id})
        self.answers = [answer for answer in self.answers if answer.id != answer_id]

    def _take(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if isinstance(fields, dict) and "taken_back" in fields:
                self.answers = [answer for answer in self.answers if answer.id != fields["taken_back"]]
            else:
                self.answers.append(Answer.model_validate(fields))
        except (ValueError, RecursionError, ValidationError):
            self.bad_lines += 1

    def _append(self, fields: dict[str, Any]) -> None:
        """Writes a line behind the last whole one, whoever wrote that, and takes what others wrote meanwhile."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as stream:
            _lock(stream)
            if stream.seek(0, os.SEEK_END) < self._whole_bytes:  # somebody took the file away
                stream.truncate(0)
                kept = [_line(answer.model_dump()) for answer in self.answers]
                stream.writelines(kept)
                self._whole_bytes = sum(map(len, kept))
            else:
                self._read(stream)
            stream.truncate(self._whole_bytes)
            line = _line(fields)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._whole_bytes += len(line)

    def _read(self, stream: BinaryIO) -> None:
        """Takes the whole lines behind those that were taken before."""
        stream.seek(self._whole_bytes)
        for line in stream:
            if line.endswith(b"\n"):
                self._whole_bytes += len(line)
                self._take(line)


def _lock(stream: BinaryIO) -> None:
    """Keeps other voters' commands from the file until it is closed, where the system can."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.flock(stream, fcntl.LOCK_EX)


def _line(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, ensure_ascii=True) + "\n").encode()


def _begins_like_votes(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(HEAD)) == HEAD[: path.stat().st_size]
