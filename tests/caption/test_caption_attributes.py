"""Measured attributes against pictures whose values are known in closed form, and their words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from supir_caption.attributes import Attributes, measure
from supir_caption.wording import (
    colour_sentence,
    detail_sentence,
    format_sentence,
    light_sentence,
    text_sentence,
)


def flat(*colour: int, side: int = 128) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def noise_in(rows: slice, columns: slice, side: int = 288) -> np.ndarray:
    picture = flat(128, 128, 128, side=side)
    generator = np.random.default_rng(0)
    picture[rows, columns] = generator.integers(0, 256, picture[rows, columns].shape[:2])[..., None]
    return picture


def words(picture: np.ndarray) -> tuple[str, str, str]:
    attributes = measure(picture)
    return colour_sentence(attributes), light_sentence(attributes), detail_sentence(attributes)


@pytest.mark.parametrize(("grey", "lightness"), [(0, 0.0), (119, 50.03), (255, 100.0)])
def test_lightness_is_cie_l_star(grey: int, lightness: float):
    attributes = measure(flat(grey, grey, grey))
    assert attributes.lightness == pytest.approx(lightness, abs=0.2)  # OpenCV's table is that coarse
    assert attributes.contrast == pytest.approx(0.0, abs=1e-3)
    assert attributes.monochrome is True


def test_contrast_is_the_range_of_lightness():
    picture = flat(0, 0, 0)
    picture[:, 64:] = 255
    assert measure(picture).contrast == pytest.approx(100.0, abs=0.1)
    picture = flat(0, 0, 0)
    picture[:, :10] = 255  # 8% of the picture: more than the 5% that are left out, less than a quarter
    assert measure(picture).contrast == pytest.approx(100.0, abs=0.1)


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((255, 0, 0), "red"),
        ((255, 90, 0), "orange"),
        ((255, 140, 0), "orange"),
        ((255, 230, 0), "yellow"),
        ((30, 160, 30), "green"),
        ((0, 170, 170), "teal"),
        ((30, 60, 200), "blue"),
        ((160, 0, 170), "purple"),
        ((255, 120, 190), "pink"),
        ((110, 70, 30), "brown"),
        ((139, 69, 19), "brown"),  # saddle brown: a dark orange
        ((90, 40, 35), "brown"),  # mahogany: a dull dark red
        ((130, 30, 40), "red"),  # burgundy
        ((140, 50, 45), "red"),  # brick
        ((225, 205, 170), "beige"),
        ((128, 128, 128), "grey"),
        ((5, 5, 5), "black"),
        ((250, 250, 250), "white"),
    ],
)
def test_a_flat_picture_has_the_name_of_its_colour(colour: tuple[int, int, int], name: str):
    assert measure(flat(*colour)).colours == ((name, 1.0),)


def test_colour_shares_follow_the_areas():
    picture = flat(255, 0, 0)
    picture[:, :32] = (30, 60, 200)
    colours = dict(measure(picture).colours)
    assert colours["red"] == pytest.approx(0.75, abs=0.01)
    assert colours["blue"] == pytest.approx(0.25, abs=0.01)
    assert colour_sentence(measure(picture)) == "Mainly red and blue, in vivid colour."


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        (slice(0, 96), slice(0, 96), "in the upper left"),
        (slice(96, 192), slice(96, 192), "in the centre"),
        (slice(96, 192), slice(192, 288), "on the right"),
        (slice(192, 288), slice(96, 192), "at the bottom"),
    ],
)
def test_detail_is_found_where_it_is(rows: slice, columns: slice, place: str):
    attributes = measure(noise_in(rows, columns))
    assert (
        attributes.detail_grid[rows.start // 96][columns.start // 96] > 0.9
    )  # the patch's border counts for its neighbours
    assert sum(map(sum, attributes.detail_grid)) == pytest.approx(1.0)
    assert 1 / 9 <= attributes.detail_share <= 16 / 81
    assert detail_sentence(attributes).endswith(f"ine detail {place}, smooth elsewhere.")


def test_detail_everywhere_and_nowhere():
    everywhere, nowhere = measure(noise_in(slice(None), slice(None))), measure(flat(90, 90, 90))
    assert (everywhere.detail_share, nowhere.detail_share) == (1.0, 0.0)
    assert detail_sentence(everywhere).endswith("ine detail across the whole picture.")
    assert detail_sentence(nowhere) == "Smooth, with hardly any fine detail."


def test_acuity_is_one_for_a_step_and_falls_with_blur():
    picture = flat(0, 0, 0)
    picture[:, 48:] = 255
    image = Image.fromarray(picture)
    blurred = [
        measure(np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)))).acuity for sigma in (0.7, 1.5, 4)
    ]
    assert measure(picture).acuity == pytest.approx(1.0)
    assert 0.9 > blurred[0] > blurred[1] > blurred[2] > 0.05


def test_a_smaller_contrast_of_an_edge_leaves_its_acuity():
    picture = flat(80, 80, 80)
    picture[:, 48:] = 160
    assert measure(picture).acuity == pytest.approx(1.0)


def test_light_and_contrast_in_words():
    assert words(flat(20, 20, 20))[1] == "Dark, with gentle contrast."
    assert words(flat(245, 245, 245))[1] == "Bright, with gentle contrast."
    halves = flat(0, 0, 0)
    halves[:, 64:] = 255
    assert words(halves)[1] == "Strong contrast."
    assert words(flat(128, 128, 128))[1] == "Gentle contrast."


def colour_noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)


def stripes(width_px: int) -> np.ndarray:
    columns = (np.arange(700) // width_px % 2 * 255).astype(np.uint8)
    return np.repeat(np.tile(columns, (600, 1))[..., None], 3, axis=2)


@pytest.mark.parametrize("picture", [stripes(1), stripes(2), stripes(3), stripes(64)])
def test_stripes_of_any_width_have_full_contrast_and_no_colour(picture: np.ndarray):
    attributes = measure(picture)
    assert attributes.contrast == pytest.approx(100.0, abs=0.1)
    assert attributes.lightness == pytest.approx(50.0, abs=5)  # 64 px stripes do not end evenly
    assert words(picture)[:2] == ("Almost without colour.", "Strong contrast.")


def test_full_range_noise_has_the_contrast_and_the_colours_of_its_pixels():
    gray = np.repeat(colour_noise()[..., :1], 3, axis=2)
    assert words(gray)[:2] == ("Almost without colour.", "Strong contrast.")
    coloured = measure(colour_noise())
    assert coloured.chroma > 50
    assert coloured.monochrome is False
    assert words(colour_noise())[0] == "Many colours, in vivid colour."  # no three cover half of it


@pytest.mark.parametrize(
    ("colour", "sentence"),
    [
        ((130, 30, 40), "Mainly red."),
        ((123, 63, 0), "Mainly brown."),
        ((0, 0, 90), "Mainly blue."),
        ((0, 0, 255), "Mainly blue, in vivid colour."),
        ((220, 30, 40), "Mainly red, in vivid colour."),
        ((120, 110, 105), "Almost without colour."),
        ((136, 128, 124), "Almost without colour."),
    ],
)
def test_deep_colours_are_not_called_vivid(colour: tuple[int, int, int], sentence: str):
    assert words(flat(*colour))[0] == sentence


@pytest.mark.parametrize(
    ("widths", "sentence"),
    [
        ((18, 17, 16, 49), "Mainly red, blue and green, in vivid colour."),
        ((18, 16, 16, 50), "Many colours, in vivid colour."),
    ],
)
def test_mainly_means_more_than_half(widths: tuple[int, ...], sentence: str):
    *named, rest = np.split(flat(255, 0, 0, side=100), np.cumsum(widths)[:-1], axis=1)
    for stripe, colour in zip(named[1:], [(30, 60, 200), (30, 160, 30)], strict=True):
        stripe[:] = colour
    others = [(255, 230, 0), (160, 0, 170), (5, 5, 5), (0, 170, 170)]  # each less than 15 %
    for stripe, colour in zip(np.array_split(rest, 4, axis=1), others, strict=True):
        stripe[:] = colour
    assert words(np.hstack([*named, rest]))[0] == sentence


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (500, 7)])
def test_any_size_can_be_measured(size: tuple[int, int]):
    attributes = measure(np.full((*size, 3), 200, dtype=np.uint8))
    assert isinstance(attributes, Attributes)
    assert attributes.colours == (("grey", 1.0),)


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([], ""),
        ([(10, 10, 60, 20)], "Writing in the upper left."),
        ([(10, 10, 60, 20), (20, 30, 60, 40)], "Writing in the upper left."),
        ([(10, 10, 60, 20), (130, 280, 170, 295)], "Writing in the upper left and at the bottom."),
        ([(900, 900, 990, 920)], ""),  # outside the view
        ([(10, y, 60, y + 9) for y in (10, 120, 210, 280)], "Writing in many places."),
    ],
)
def test_writing_is_placed_within_the_view(areas: list[tuple[int, int, int, int]], expected: str):
    assert text_sentence(areas, (0, 0, 300, 300)) == expected


def test_format_is_named_only_far_from_square():
    assert format_sentence((0, 0, 160, 100)) == "A wide picture."
    assert format_sentence((0, 0, 100, 140)) == "A tall picture."
    assert format_sentence((0, 0, 133, 100)) == ""
