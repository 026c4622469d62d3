from __future__ import annotations

from pathlib import PurePath

import pytest

from supir_infer.picture_names import picture_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["A.JPG", "A.png"], ["A.JPG", "A.png"]),
        (["A.JPG", "trip/A.JPG"], ["A", "trip/A"]),
        (["A.JPG", "A.png", "A.JPG.png"], ["A.JPG", "A.png", "A.JPG.png"]),
        (["a.b.jpg", "a.c.jpg"], ["a.b", "a.c"]),
        (
            ["a.b.jpg", "a.b.png", "a.b.jpg.webp", "a.b.jpg.png"],
            ["a.b.jpg", "a.b.png", "a.b.jpg.webp", "a.b.jpg.png"],
        ),
    ],
)
def test_no_two_pictures_have_one_name(paths, names):
    assert picture_names([PurePath(path) for path in paths]) == names
