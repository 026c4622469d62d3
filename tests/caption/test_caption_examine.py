"""The audit's verdicts and the quiz: what is asked, which answers count, and the figures by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from supir_caption.examine.audit import audit
from supir_caption.examine.claims import audit_schema, audit_words, audited, claims_of, rate, verdicts_in
from supir_caption.examine.examiner import Exam
from supir_caption.examine.quiz import quiz
from supir_caption.examine.quiz_items import (
    Crop,
    Item,
    answering_words,
    is_right,
    items_in,
    making_schema,
    making_words,
    option_order,
    quiz_summary,
)
from supir_caption.examine.results import write_results
from supir_caption.pages.report import report
from supir_caption.pages.stored import Stored, open_captions
from supir_shards import Caption, Dataset, write_captions

FOX = Item("What colour is the fox?", ("red", "grey", "white", "black"))


@pytest.mark.parametrize(
    ("answer", "verdicts"),
    [
        ('{"verdicts": ["shown", "not shown"]}', ("shown", "not shown")),
        (
            '<think>{"a": 1}</think>```json\n{"verdicts": ["Shown", "cannot_be_told"]}\n```',
            ("shown", "cannot be told"),
        ),
        ('Sure {here}: {"verdicts": ["shown", "shown"]}', ("shown", "shown")),
        ('{"verdicts": ["shown"]}', None),
        ('{"verdicts": ["shown", "maybe"]}', None),
        ('{"verdicts": "shown"}', None),
        ("[1, 2]", None),
        ("I cannot.", None),
    ],
)
def test_an_answer_counts_only_with_a_verdict_for_each_sentence(answer: str, verdicts):
    assert verdicts_in(answer, 2) == verdicts


def test_a_caption_is_audited_sentence_by_sentence():
    claims = claims_of("A fox stands in snow. Its tail is white.")
    words = audit_words(claims)
    assert "1. A fox stands in snow.\n2. Its tail is white." in words
    assert audit_schema(2)["properties"]["verdicts"]["maxItems"] == 2
    assert len(claims_of("A fox. " * 40)) == 16


def test_the_audits_rates_leave_out_what_cannot_be_told():
    found = audited([("shown", "not shown"), ("shown", "cannot be told"), None, ("shown",)])
    summary = found.summary()
    assert (summary["captions"], summary["unanswered"]) == (3, 1)
    assert summary["claims"] == {"shown": 3, "not shown": 1, "cannot be told": 1}
    assert summary["claims_not_shown"]["share"] == 0.25
    assert summary["captions_with_one"]["share"] == pytest.approx(1 / 3, abs=1e-4)
    assert audited([]).summary()["claims_not_shown"] is None


def test_the_interval_is_wilsons():
    # 1 of 10: 0.0179 to 0.4042, as in tables of the Wilson interval without continuity correction
    assert rate(1, 10) == {"share": 0.1, "low": 0.0179, "high": 0.4042}
    assert rate(0, 10)["low"] == 0.0
    assert rate(10, 10)["high"] == 1.0


def test_questions_that_are_not_whole_are_left_out():
    whole = {"question": " What colour is\nthe fox? ", "right": "red", "wrong": ["grey", "white", "black"]}
    bad = [
        whole | {"wrong": ["grey", "white"]},
        whole | {"wrong": ["grey", "white", "Red."]},
        whole | {"right": 3},
        whole | {"question": ""},
        "what?",
    ]
    assert items_in(json.dumps({"questions": [*bad, whole, whole]}), 5) == [FOX]
    assert items_in(json.dumps({"questions": [whole, whole | {"question": "Else?"}]}), 1) == [FOX]
    assert items_in("no", 3) == []
    assert making_schema(3)["properties"]["questions"]["minItems"] == 3
    assert "Write 3 multiple-choice questions" in making_words(3)


def test_a_reader_is_shown_the_options_in_an_order_of_their_own_and_may_abstain():
    words = answering_words("A red fox.", FOX)
    order = option_order(FOX)
    assert sorted(order) == [0, 1, 2, 3]
    assert f"{'ABCD'[order.index(0)]}) red" in words
    assert "E) The text does not say." in words
    assert "A red fox." not in answering_words("", FOX)
    firsts = {option_order(Item(f"Question {number}?", FOX.options)).index(0) for number in range(40)}
    assert firsts == {0, 1, 2, 3}


@pytest.mark.parametrize("form", ["{}", "{})", "The answer is {}.", "<think>A or B</think> **{}**"])
def test_one_letter_is_an_answer_however_it_is_written(form: str):
    right = "ABCD"[option_order(FOX).index(0)]
    wrong = "ABCD"[option_order(FOX).index(1)]
    assert is_right(form.format(right), FOX) is True
    assert is_right(form.format(wrong), FOX) is False
    assert is_right(form.format("E"), FOX) is False
    assert is_right(form.format(f"{right} or {wrong}"), FOX) is False
    assert is_right("red", FOX) is False


def test_the_gain_of_region_captions_is_told_in_questions_with_an_interval_over_crops():
    crops = [Crop(4, 4, 2, 1), Crop(4, 3, 3, 1), Crop(2, 1, 0, 0), Crop(0, 0, 0, 0)]
    summary = quiz_summary(crops)
    assert (summary["crops"], summary["questions"]) == (3, 10)
    assert summary["right"] == {"region": 8, "whole": 5, "without": 2}
    assert summary["gain"] == 3
    # rests 2 - 1.2, 0 - 1.2, 1 - 0.6; root of (0.64 + 1.44 + 0.16) * 3/2 over 10 questions, times 1.96
    assert summary["gain_share"] == {"share": 0.3, "low": -0.0593, "high": 0.6593}
    assert quiz_summary([])["gain_share"] is None


class Painter:
    """Knows a picture by its colour: the judge and the maker of questions of these tests."""

    name = "painter"

    def answers(self, exams: Sequence[Exam]) -> list[str]:
        return [self._answer(exam) for exam in exams]

    def _answer(self, exam: Exam) -> str:
        colour = "red" if exam.image.getpixel((2, 2))[0] > 128 else "blue"
        if "verdicts" in exam.words:
            claims = re.findall(r"^\d+\. (.+)$", exam.words, re.MULTILINE)
            verdicts = [
                "shown" if colour in claim else "not shown" if "wall" in claim else "cannot be told"
                for claim in claims
            ]
            return json.dumps({"verdicts": verdicts})
        other = "red" if colour == "blue" else "blue"
        made = [
            {"question": f"Colour {n}?", "right": colour, "wrong": [other, "grey", "black"]} for n in range(2)
        ]
        return "no questions" if exam.image.width < 20 else json.dumps({"questions": made})


class Reader:
    """Takes the option whose word stands in the text, or says that the text does not say."""

    name = "reader"

    def answers(self, exams: Sequence[Exam]) -> list[str]:
        answers = []
        for exam in exams:
            assert exam.image is None
            text, _, options = exam.words.partition("Question")
            found = [
                letter
                for letter, option in re.findall(r"^([A-D])\) (\w+)$", options, re.MULTILINE)
                if option in text
            ]
            answers.append(found[0] if found else "E")
        return answers


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, as_sample, write_dataset) -> Stored:
    image = Image.new("RGB", (64, 48), "blue")
    image.paste("red", (0, 0, 32, 48))
    sample = as_sample(image)
    gone = as_sample(Image.new("RGB", (64, 48), "green"))
    store = write_dataset(tmp_path_factory.mktemp("examined") / "d", [[sample], [gone]])
    texts = [
        ((0, 0, 64, 48), "A blue wall. A bird sings."),
        ((0, 0, 32, 48), "A red wall."),
        ((32, 0, 64, 48), "A wall in colour."),
        ((32, 0, 48, 48), ""),
    ]
    captions = [caption_of(sample.key, region, box, text) for region, (box, text) in enumerate(texts)]
    write_captions(store, "c", "part-000000", captions)
    write_captions(store, "c", "part-000001", [caption_of(gone.key, 0, (0, 0, 64, 48), "A green wall.")])
    Path(store.url, "shards/part-000001.tar").write_bytes(b"")
    return open_captions(Dataset(store), "c", 9)


def caption_of(key: str, region: int, box: tuple[int, int, int, int], text: str) -> Caption:
    return Caption(
        key=key, region=region, box=box, text=text, short_text=text, num_tokens_clip_l=1, num_tokens_clip_g=1
    )


def test_an_audit_shows_each_caption_with_its_crop_and_counts_what_cannot_be_read(stored: Stored):
    rows, summary = audit(stored, Painter(), 10)
    assert [(row.region, row.verdicts) for row in sorted(rows, key=lambda row: row.region)] == [
        (0, ("not shown", "cannot be told")),
        (1, ("shown",)),
        (2, ("not shown",)),
    ]
    assert summary["judge"] == "painter"
    assert summary["claims"] == {"shown": 1, "not shown": 2, "cannot be told": 1}
    assert (summary["captions"], summary["unreadable_pictures"]) == (3, 1)
    assert len(audit(stored, Painter(), 2)[0]) <= 2


def test_a_quiz_compares_a_regions_caption_with_the_pictures_and_with_none(stored: Stored):
    rows, summary = quiz(stored, Painter(), Reader(), number=10, questions=2)
    of_region = {row.region: (row.region_right, row.whole_right, row.without_right) for row in rows}
    assert of_region == {1: (True, False, False), 2: (False, True, False)}
    assert (summary["crops"], summary["questions"]) == (2, 4)
    assert summary["right"] == {"region": 2, "whole": 2, "without": 0}
    assert (summary["maker"], summary["reader"]) == ("painter", "reader")


def test_what_was_found_stands_in_the_report(stored: Stored):
    store = stored.dataset.store
    write_results(store, "c", "audit", *audit(stored, Painter(), 10))
    path = write_results(store, "c", "quiz", *quiz(stored, Painter(), Reader(), number=10, questions=2))
    assert len(store.read(path).splitlines()) == 4
    page = report(stored, examples=2)[0].decode()
    assert "audit of 3 captions by painter" in page
    assert "66.7 % (20.8 to 93.8) of the sentences say what the picture does not show (2 of 3" in page
    assert "quiz on 2 regions by painter, read by reader" in page
    assert "of 4 questions 2 are answered rightly from the region&#39;s caption" in page
    store.write("report/captions/c/audit.json", b"{")
    assert "audit.json is damaged; run supir-caption audit again" in report(stored, examples=2)[0].decode()
