"""The lint: which words are reported, and which innocent ones are not."""

from __future__ import annotations

import pytest

from supir_caption.lint import lint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A blurry, noisy photo with JPEG artifacts.", {"degradation": "blurry, noisy, jpeg artifacts"}),
        ("A low-resolution scan, out of focus.", {"degradation": "low-resolution, out of focus"}),
        ("I'm sorry, I cannot see it.", {"refusal": "i'm sorry, i cannot"}),
        ("It appears to be a fox, possibly a vixen.", {"hedging": "appears to, possibly"}),
        ("A tree on a hill. A tree on a hill. A tree on a hill.", {"repetition": "3 x a tree on a"}),
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
    ],
)
def test_what_is_not(text: str):
    assert lint(text) == {}
