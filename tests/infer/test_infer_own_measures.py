"""Consistency, colour shift, grids and seams: closed forms, both sides of each limit, and what they must not see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from supir_console import UserError
from supir_infer.against_lq import colour_shift_levels, consistency_db
from supir_infer.artefacts import grid_levels
from supir_infer.images import ImageError, resize
from supir_infer.seams import Tiles, read_tiles, seam_ratio, told_tiles


def photo(image: np.ndarray, side: int = 256) -> np.ndarray:
    return image[20 : 20 + side, 60 : 60 + side].astype(np.float32) / 255


@pytest.fixture(scope="module", params=["astronaut", "coffee", "chelsea"])
def clean(request: pytest.FixtureRequest) -> np.ndarray:
    return photo(getattr(data, request.param)())


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_what_the_lq_was_made_of_is_consistent_whatever_the_blur(clean, sigma):
    small = resize(clean, (64, 64))
    lq = cv2.GaussianBlur(small, (0, 0), sigma) if sigma else small
    assert consistency_db(clean, lq) > 99
    assert consistency_db(np.flip(clean, axis=1).copy(), lq) < 30


def test_the_noise_of_the_lq_is_the_most_that_its_original_can_reach(clean):
    noise = np.random.default_rng(0).normal(0, 10 / 255, (64, 64, 3))
    lq = (resize(clean, (64, 64)) + noise).astype(np.float32)
    assert consistency_db(clean, lq) == pytest.approx(20 * np.log10(255 / 10), abs=0.35)


def test_an_invented_object_costs_consistency(clean):
    invented = clean.copy()
    invented[100:140, 100:140] = 1 - invented[100:140, 100:140]
    lq = resize(clean, (64, 64))
    assert consistency_db(invented, lq) < consistency_db(clean, lq) - 20


@pytest.mark.parametrize("shift", [(3, 3, 3), (6, 0, 0)])
def test_a_shift_of_all_colours_is_its_rms_over_the_channels(clean, shift):
    middle = 0.2 + 0.6 * clean
    moved = (middle + np.array(shift) / 255).astype(np.float32)
    expected = np.sqrt(np.mean(np.square(shift)))
    assert colour_shift_levels(moved, resize(middle, (64, 64))) == pytest.approx(expected, abs=0.4)
    assert colour_shift_levels(middle, resize(middle, (64, 64))) < 0.4


def test_an_lq_of_other_proportions_is_refused_and_rounding_is_not(clean):
    with pytest.raises(ImageError, match="restored is 256x256 px, the LQ 64x48: of other proportions"):
        consistency_db(clean, clean[:48, :64])
    assert consistency_db(clean[:, :250], resize(clean, (64, 64))) < 100


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 8, 10])
def test_a_planted_grid_is_found_with_its_period_and_its_rms(clean, period):
    y, x = np.mgrid[:256, :256]
    grid = 3.0 * ((x % period == 0) | (y % period == 0))
    found = grid_levels((0.1 + 0.8 * clean + grid[..., None] / 255).astype(np.float32))
    assert found.where == f"every {period} px"
    assert found.value == pytest.approx(grid.std(), rel=0.1)


def test_a_period_of_16_px_needs_a_larger_picture_than_one_of_10():
    large = photo(data.astronaut(), 400)
    y, x = np.mgrid[:400, :400]
    gridded = (0.1 + 0.8 * large + 2 * ((x % 16 < 8) ^ (y % 16 < 8))[..., None] / 255).astype(np.float32)
    assert (grid_levels(gridded).where, grid_levels(gridded).value) == (
        "every 16 px",
        pytest.approx(1, rel=0.15),
    )
    assert grid_levels(gridded[:256, :256]).where != "every 16 px"


def test_photos_noise_and_sharpening_are_no_grid_at_any_size(clean):
    noisy = clean + np.random.default_rng(1).normal(0, 12 / 255, clean.shape)
    sharp = clean + 2.5 * (clean - cv2.GaussianBlur(clean, (0, 0), 2))
    for picture in (clean, noisy, sharp):
        for side in (256, 192, 128, 96, 64):
            start = (256 - side) // 2
            crop = np.clip(picture[start : start + side, start : start + side], 0, 1)
            assert grid_levels(crop.astype(np.float32)).value < 0.5


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_a_flat_picture_has_no_grid(level):
    assert grid_levels(np.full((64, 64, 3), level, np.float32)).value == 0


def test_the_ratio_at_a_seam_is_the_jump_over_the_slope_beside_it():
    ramp = np.tile(np.arange(200) * 0.5, (120, 1))
    ramp[:, 100:] += 2
    picture = np.repeat(ramp[..., None] / 255, 3, axis=2).astype(np.float32)
    tiles = Tiles(100, 100, (200, 120))
    found = seam_ratio(picture, Tiles(100, 200, (200, 100)))
    assert found is not None
    assert tiles.borders(200) == [100]
    assert found.where == "column 100"
    # 0.1 is added to each jump; rows have no slope: 1 at their border
    assert seam_ratio(picture[:90], tiles).value == pytest.approx((2.5 + 0.1) / (0.5 + 0.1), rel=1e-3)


def test_overlapping_tiles_have_borders_where_they_begin_and_end_and_a_photo_has_no_seam(clean):
    tiles = Tiles(128, 96, (256, 256))
    assert tiles.borders(256) == [96, 128, 224]
    found = seam_ratio(clean, tiles)
    assert found is not None
    assert found.value == pytest.approx(1, abs=0.15)
    stepped = clean.copy()
    for line in (96, 128, 224):
        stepped[line:] += 6 / 255
        stepped[:, line:] += 6 / 255
    assert seam_ratio(stepped, tiles).value > 1.15 * found.value


def test_a_result_tells_its_tiles_in_its_own_pixels_and_others_tell_none():
    told = {
        "tiles": 4,
        "size": {"working": [512, 512]},
        "settings": {"tile_px": 256, "tile_stride_px": 128},
    }
    assert told_tiles(told, (256, 256)) == Tiles(128, 64, (256, 256))
    for other in (None, {}, {**told, "tiles": 1}, {**told, "size": 3}, {**told, "settings": {}}):
        assert told_tiles(other, (256, 256)) is None


@pytest.mark.parametrize("text", ["", "x", "0", "-4", "512:0", "512:600", "512:a"])
def test_tiles_that_are_none_are_one_line(text):
    with pytest.raises(UserError, match="--tiles"):
        read_tiles(text)
    assert (read_tiles("512:448"), read_tiles("512")) == ((512, 448), (512, 512))
