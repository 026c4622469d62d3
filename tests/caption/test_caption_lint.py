"""The checks: what is reported, which innocent words are not, and the rates on the labelled captions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from caption_checks import LABELLED, rates, read

from supir_caption.lint import CHECKS, lint, own_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A blurry, noisy photo with JPEG artifacts.", {"degradation": "blurry, noisy, jpeg artifacts"}),
        ("A low-resolution scan, out of focus.", {"degradation": "low resolution, out of focus"}),
        ("I'm sorry, I cannot see it.", {"refusal": "i'm sorry, i cannot"}),
        ("It appears to be a fox, possibly a vixen.", {"hedging": "appears to, possibly"}),
        ("A tree on a hill. A tree on a hill. A tree on a hill.", {"repetition": "3 x a tree on a hill"}),
        ("A fox, adding a touch of magic to the scene.", {"boilerplate": "adding a touch of, magic"}),
        ("Ein Fuchs sitzt im Schnee neben einem Baum.", {"language": "German"}),
        ("雪の中に狐が座っています。", {"language": "Chinese or Japanese"}),
        ("  ", {"empty": "no text"}),
    ],
)
def test_what_is_reported(text: str, expected: dict[str, str]):
    assert lint(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A fox in front of a softly blurred background.",
        "Egyptian artifacts in a museum.",
        "A fine-grained wooden table; grain in a field.",
        "A tree on a hill. A tree on a hill.",
        "A table made of oak. Its grain is fine, and its deep scratches show.",
        "A number plate e3e69eaf-a3-o9e on a car of oak.",
        'A sign reads "Sorry, no blurry photos. Perhaps tomorrow."',
    ],
)
def test_what_is_not(text: str):
    assert lint(text) == {}


@pytest.mark.parametrize(
    ("picture", "thing"),
    [
        (
            "The background of the photo is sharp, but the photo is blurred.",
            "The background of the photo is blurred.",
        ),
        ("There is noise in the shadows.", "There is noise in the street."),
        ("Scratches run across the surface of the print.", "Scratches run across the surface of the table."),
        ("The photo is old. It is scratched.", "The photo shows a table. It is scratched."),
        ("The image has a grainy texture.", "The image shows the grainy texture of the sand."),
        ("A torn photograph of a sailor.", "A torn photograph of a sailor hangs on the wall."),
        ("The image is of poor quality.", "The road is of poor quality."),
        ("The image is noisy.", "The image is not noisy."),
        ("The photo is old. Its grain is heavy.", "The desk is old. Its grain is heavy."),
        ("The photo is old and its scratches show.", "The desk is old and its scratches show."),
    ],
)
def test_a_defect_counts_by_what_it_is_said_of(picture: str, thing: str):
    assert "degradation" in lint(picture)
    assert "degradation" not in lint(thing)


LISTS = {"tuning": 14, "held_out": 14, "tuning_wordings": 40, "held_out_wordings": 8}
"""The labelled captions, with how many of them at least each check should find something in."""


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_nine_of_ten_and_is_right_nine_times_of_ten(name: str, check: str):
    captions = read(LABELLED / f"{name}.txt")
    by_check, misses = rates(captions)
    assert sum(check in caption.labels for caption in captions) >= LISTS[name]
    assert by_check[check].precision >= 0.9, "\n".join(misses)
    assert by_check[check].recall >= 0.9, "\n".join(misses)


@pytest.mark.parametrize(
    ("bad", "good", "check"),
    [
        ("I can't, since it may be private.", "A man can't lift it, since it may be nailed down.", "refusal"),
        ("It may be private.", "I can't, since it may be private.", "hedging"),
        ("A dove, a sign of hope.", "A bus to Hope beside a beauty salon.", "boilerplate"),
        ("An idyllic village scene.", "An idyllic inn of that name.", "boilerplate"),
        ("A cat. What do you think?", "A thank you card.", "boilerplate"),
        (
            "A cat sits. A dog runs. A cat sits. A dog runs.",
            "A cat sits. A dog runs. A cat sits.",
            "repetition",
        ),
        (
            "A lamp on a table next to a chair and a bed, a lamp on a table next to a chair and a bed.",
            "A lamp on a table next to a chair and a bed, a lamp on a table.",
            "repetition",
        ),
        ("1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "The dice show 1 1 1 1 1 1.", "repetition"),
        ("A street full of people. The photo is full of noise.", "A street full of noise.", "degradation"),
        ("The image as a whole is soft.", "The pillow as a whole is soft.", "degradation"),
        ("The subject, a wren, is out of focus.", "The hills, a far ridge, are out of focus.", "degradation"),
    ],
)
def test_what_tells_a_fault_from_its_lookalike(bad: str, good: str, check: str):
    assert check in lint(bad)
    assert check not in lint(good)


def test_the_list_has_good_captions_and_bad_ones_of_every_style():
    captions = [caption for name in LISTS for caption in read(LABELLED / f"{name}.txt")]
    assert len(captions) >= 1000
    assert len({caption.text for caption in captions}) == len(captions)
    for style in ("llava", "qwen", "joy"):
        of_style = [caption for caption in captions if caption.style == style]
        assert sum(not caption.labels for caption in of_style) >= 50
        assert sum(bool(caption.labels) for caption in of_style) >= 50


def test_a_caption_that_is_one_quotation_is_the_captioners_own():
    assert own_words('"A blurry photo."') == '"A blurry photo."'
    assert own_words('A sign says "blurry".') == "A sign says …."
