from __future__ import annotations

import pytest

from supir_console import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("picture",), "1 picture"),
        (0, ("picture",), "0 pictures"),
        (2, ("such file",), "2 such files"),
        (1, ("entry", "entries"), "1 entry"),
        (12, ("entry", "entries"), "12 entries"),
    ],
)
def test_a_number_goes_with_the_form_of_its_noun(number, words, said):
    assert counted(number, *words) == said
