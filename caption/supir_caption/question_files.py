"""The questions that a model is asked about a picture: each is a file with a version, and its hash names it.

Place in the flow: `config` names the files, `asking` fills them in. Files of one's own lie anywhere and are
given by path; the shipped ones lie in `questions/` and are given by name.
The law: the same file, picture and metadata give the same words. A line that asks for something a picture has
not (its alt text, an earlier answer) is left out whole, so nothing is ever asked about an empty quotation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from supir_console import Config, Text, UserError

SHIPPED = Path(__file__).parent / "questions"
FILES = (".yaml", ".yml")
"""A name that ends so is the path of a file."""

MAX_VALUE = 1000  # characters of somebody else's text that are let into a question
MAX_CAPTION = 8000  # and of a model's own earlier answer
KNOWN = {
    "alt_text": "text that came with the photo",
    "source": "where the photo is from",
    "licence": "its licence",
    "role": "photo, face or negative",
    "width": "of the picture that is shown, px",
    "height": "of the picture that is shown, px",
    "place": "where a region lies: upper left part",
    "caption": "the answer to the question before",
    "short_words": "words that short_tokens are about",
}
"""What may stand in a question as `{name}`."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class AnswerForm(Config):
    """The form of an answer that is no plain text."""

    field: str = Field(min_length=1, description="of the JSON object: the text that is kept")
    json_schema: dict[str, Any] = Field(description="of the JSON object; engines that can are held to it")


class Question(Config):
    """One question file.

    Attributes are the file's keys; `name`, `sha256` and the words stand in the captions' record.
    """

    name: str = Field(default="", description="the file's name without .yaml")
    sha256: str = Field(default="", description="of the file, 64 hex digits")
    version: int = Field(ge=1, description="raised by whoever changes the words")
    text: Text = Field(min_length=1, description="the words; {alt_text} and the like are filled in")
    max_tokens: int | None = Field(
        default=None, ge=1, description="of the answer; null: ask.max_tokens, which is also the most"
    )
    answer: AnswerForm | None = Field(default=None, description="null: plain text")

    @field_validator("text")
    @classmethod
    def _knows_its_placeholders(cls, text: str) -> str:
        unknown = sorted(set(_PLACEHOLDER.findall(text)) - KNOWN.keys())
        if unknown:
            raise ValueError(f"unknown {{{unknown[0]}}} in text; known are {', '.join(KNOWN)}")
        return text.strip()

    @property
    def label(self) -> str:
        """Name, version and hash in one word, as it is stored with each caption."""
        return f"{self.name}@{self.version}#{self.sha256[:12]}"

    def words(self, values: Mapping[str, str]) -> str:
        """Returns the question with its places filled in; a line whose value is missing or empty is left out.

        Args:
            values: by the names in `KNOWN`.
        """
        lines = [_filled(line, values) for line in self.text.splitlines()]
        return "\n".join(line for line in lines if line is not None)


def load_question(name: str) -> Question:
    """Returns the question of a name that is shipped, or of a path that ends in .yaml.

    Raises:
        UserError: there is no such file, or it is no question.
    """
    path = Path(name) if name.endswith(FILES) else SHIPPED / f"{name}.yaml"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"question {name!r}: {path} cannot be read; use one of {', '.join(shipped_questions())}, or the path"
            " of a .yaml file"
        ) from error
    return _parsed(str(path), path.stem, data)


def shipped_questions() -> list[str]:
    """Returns the names of the questions that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


@cache
def _parsed(path: str, name: str, data: bytes) -> Question:
    try:
        values = yaml.safe_load(data)
        if not isinstance(values, dict):
            raise UserError(f"question file {path} holds no mapping; it needs version and text")
        return Question.model_validate({**values, "name": name, "sha256": hashlib.sha256(data).hexdigest()})
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"question file {path} is no readable YAML: {' '.join(str(error).split())}"
        ) from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise UserError(f"question file {path}: {told}") from error


def _filled(line: str, values: Mapping[str, str]) -> str | None:
    names = _PLACEHOLDER.findall(line)
    if any(not values.get(name, "").strip() for name in names):
        return None
    return _PLACEHOLDER.sub(lambda found: _quotable(found.group(1), values[found.group(1)]), line)


def _quotable(name: str, value: str) -> str:
    """A value as part of a sentence: one line, no quotation marks that would end ours, of bounded length."""
    return " ".join(value.replace('"', "'").split())[: MAX_CAPTION if name == "caption" else MAX_VALUE]
