"""The probe that tells a collage from a horizon, a wall or a shelf."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from supir_curate.config.rules import DEFAULT_RULES
from supir_curate.probes.seam import seam_share
from supir_curate.verdict import Reason

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from probes_collages import FINISHES, GUTTERS, LAYOUTS, Gutter, collage

LIMIT = DEFAULT_RULES[Reason.COLLAGE].limit
HEIGHT, WIDTH, HORIZON = 400, 600, 180


def field(seed, deviation):
    """Returns clouds, waves or foliage: noise whose power falls with frequency."""
    rng = np.random.default_rng(seed)
    octaves = [rng.standard_normal((2**power, 2**power)) / 1.3**power for power in range(1, 9)]
    total = sum(cv2.resize(octave, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for octave in octaves)
    return deviation * (total - total.mean()) / total.std()


def stacked(above, below):
    both = np.vstack([above[:HORIZON], below[HORIZON:]])
    return both.clip(0, 255).round().astype(np.uint8)


def saved(gray, quality):
    return cv2.imdecode(
        cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [60, 110])
@pytest.mark.parametrize("is_one_light", [True, False])
@pytest.mark.parametrize("sides", [lambda gray: gray, np.transpose])
def test_a_horizon_as_straight_as_a_ruler_is_no_seam(seed, step, is_one_light, sides):
    sky = 205 + field(seed, 8)
    sea = 205 - step + (2.5 * (sky - 205) if is_one_light else field(seed + 100, 15))
    assert seam_share(np.ascontiguousarray(sides(stacked(sky, sea)))) < LIMIT


@pytest.fixture
def two(photos, luma):
    """Returns two pictures of one size."""
    return [cv2.resize(luma(photos[name]), (WIDTH, HEIGHT)) for name in ("rocket", "chelsea")]


def test_the_same_line_between_two_pictures_is_one(two):
    collage = stacked(*two)
    assert seam_share(collage) > 0.7
    assert seam_share(np.ascontiguousarray(collage.T)) == seam_share(collage)
    assert seam_share(saved(collage, 75)) > LIMIT
    assert seam_share(cv2.resize(collage, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)) > LIMIT


def test_an_edge_that_is_tilted_by_two_pixels_is_none(two):
    rows, columns = np.indices((HEIGHT, WIDTH))
    share = (rows - HORIZON - 2 * columns / WIDTH).clip(0, 1)  # antialiased, as a lens does it
    tilted = (two[0] * (1 - share) + two[1] * share).round().astype(np.uint8)
    assert seam_share(tilted) < LIMIT / 2


def test_an_edge_that_something_stands_before_is_none(two):
    scene = stacked(*two)
    tree = (130 + field(7, 40)).clip(0, 255).astype(np.uint8)
    rows, columns = np.indices(scene.shape)
    crown = ((columns - 300) / 200) ** 2 + ((rows - HORIZON) / 150) ** 2 < 1
    assert seam_share(np.where(crown, tree, scene)) < LIMIT / 2


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("width", [2, 3, 8, 20])
@pytest.mark.parametrize("quality", [None, 85])
def test_a_gutter_of_one_colour_is_seen(photos, luma, level, width, quality):
    left, right = (cv2.resize(luma(photos[name]), (400, 400)) for name in ("coffee", "chelsea"))
    collage = np.hstack([left, np.full((400, width), level, np.uint8), right])
    assert seam_share(saved(collage, quality) if quality else collage) > LIMIT


def test_a_bright_door_is_no_gutter():
    scene = np.tile(np.linspace(90, 120, WIDTH), (HEIGHT, 1)).astype(np.uint8)
    scene[:, 200:215] = 250  # upright, of one colour, between two plain walls
    assert seam_share(scene) < LIMIT


def test_photos_have_no_seam_and_their_collages_have(photos, luma):
    grays = [luma(rgb) for rgb in photos.values()]
    assert max(seam_share(gray) for gray in grays) < 0.2
    cells = [cv2.resize(gray, (300, 240), interpolation=cv2.INTER_AREA) for gray in grays]
    for first in range(len(cells) - 3):
        a, b, c, d = cells[first : first + 4]
        assert seam_share(np.vstack([np.hstack([a, b]), np.hstack([c, d])])) > LIMIT


@pytest.mark.parametrize("shape", [(15, 300), (16, 16), (17, 900), (64, 64)])
def test_plain_and_small_pictures_have_none(shape):
    assert seam_share(np.full(shape, 50, np.uint8)) == 0.0
    noise = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    assert 0.0 <= seam_share(noise) < LIMIT


def test_the_benchmark_s_collages_cover_their_cells_but_for_the_gutter():
    plain = [np.full((600, 600, 3), level, np.uint8) for level in (50, 100, 150, 200, 210, 220)]
    framed = Gutter("black frame 10 px", 10, 0, framed=True)
    for layout, cells in LAYOUTS.items():
        made = collage(plain, layout, framed, "PNG", np.random.default_rng(0))[..., 0]
        assert len(np.unique(made)) == len(cells) + 1
        assert made[5:-5, 5:-5].any()
        assert made[:5].max() == made[-5:].max() == made[:, :5].max() == made[:, -5:].max() == 0
        without = collage(plain, layout, Gutter("none"), "PNG", np.random.default_rng(0))[..., 0]
        areas = sorted((bottom - top) * (right - left) for top, left, bottom, right in cells)
        shares = np.sort(np.unique(without, return_counts=True)[1]) / without.size
        assert shares == pytest.approx(areas, abs=0.01)


@pytest.mark.parametrize("finish", FINISHES)
@pytest.mark.parametrize("gutter", [GUTTERS[3], GUTTERS[6], GUTTERS[8]], ids=lambda gutter: gutter.name)
def test_the_benchmark_s_collages_of_photos_are_seen_however_they_are_saved(photos, gutter, finish):
    made = collage(list(photos.values()), "2 x 2", gutter, finish, np.random.default_rng(1))
    assert seam_share(cv2.cvtColor(made, cv2.COLOR_RGB2GRAY)) > LIMIT
