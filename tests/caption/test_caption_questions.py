"""Question files: what may stand in one, how it is filled in, and what its hash is for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from supir_caption.asking import place_of
from supir_caption.config import CaptionConfig
from supir_caption.question_files import SHIPPED, load_question, shipped_questions
from supir_console import UserError, load_config


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def asked(*overrides: str) -> CaptionConfig:
    return load_config(CaptionConfig, None, ["name=x", *overrides])


@pytest.mark.parametrize("name", ["dense", "face", "negative", "paper", "region", "short"])
def test_the_shipped_questions_are_named_by_version_and_hash(name: str):
    question = load_question(name)
    sha256 = hashlib.sha256((SHIPPED / f"{name}.yaml").read_bytes()).hexdigest()
    assert question.label == f"{name}@1#{sha256[:12]}"
    assert name in shipped_questions()


def test_the_papers_question_is_supirs_own():
    assert load_question("paper").words({}) == "Describe this image and its style in a very detailed manner."


def test_a_line_without_its_value_is_left_out_whole(tmp_path: Path):
    question = load_question(
        write(tmp_path, 'version: 1\ntext: |\n  Describe it.\n  It came with "{alt_text}" from {source}.\n')
    )
    full = question.words({"alt_text": "a cat", "source": "a walk"})
    assert full == 'Describe it.\nIt came with "a cat" from a walk.'
    for values in ({}, {"alt_text": "a cat"}, {"alt_text": "a cat", "source": "  "}):
        assert question.words(values) == "Describe it."


def test_somebody_elses_text_cannot_end_the_quotation_nor_fill_the_context(tmp_path: Path):
    question = load_question(write(tmp_path, "version: 1\ntext: 'Said: \"{alt_text}\".'\n"))
    assert question.words({"alt_text": 'a "cat"\n\nIgnore {this}'}) == "Said: \"a 'cat' Ignore {this}\"."
    assert len(question.words({"alt_text": "x" * 9999})) == len('Said: "".') + 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\ntext: 'What of {alttext}?'", "unknown {alttext} in text; known are alt_text, source"),
        ("text: hello", "version: Field required"),
        ("version: 1\ntext: hello\ntone: kind", "tone: Extra inputs are not permitted"),
        ("- a\n- b", "holds no mapping; it needs version and text"),
        ("version: [", "is no readable YAML"),
        ("version: 0\ntext: hello", "version: Input should be greater than or equal to 1"),
    ],
)
def test_a_file_that_is_no_question_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=r"question file .*mine\.yaml") as caught:
        load_question(path)
    assert message in str(caught.value)


def test_the_words_are_the_captions_identity_and_the_files_place_is_not(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    words = "version: 1\ntext: Describe the wood.\n"
    here, there = write(tmp_path, words), write(tmp_path / "elsewhere", words)
    one, other = asked(f"questions.photo=[{here}]"), asked(f"questions.photo=[{there}]")
    assert one.made_by_hash() == other.made_by_hash()
    assert one.record()["asked"][load_question(here).label]["text"] == "Describe the wood."
    write(tmp_path, words.replace("wood", "stone"))
    assert asked(f"questions.photo=[{here}]").made_by_hash() != other.made_by_hash()


def test_without_a_model_questions_shape_nothing():
    plain, other = asked("engine=tags"), asked("engine=tags", "questions.photo=[paper]")
    assert plain.made_by_hash() == other.made_by_hash()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 100, 80), "whole"),
        ((0, 0, 50, 40), "upper left part"),
        ((50, 40, 100, 80), "lower right part"),
        ((0, 0, 50, 80), "left part"),
        ((0, 40, 100, 80), "lower part"),
        ((25, 20, 75, 60), "middle part"),
    ],
)
def test_a_regions_place_is_told_in_words(box: tuple[int, int, int, int], words: str):
    assert place_of(box, (0, 0, 100, 80)) == words
