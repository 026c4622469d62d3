"""The probes that find what was done to a picture before: enlarged, compressed, put together."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from supir_curate.probes.history import block_phase, first_quality
from supir_curate.probes.noise import noise_sigma
from supir_curate.probes.resampling import (
    EMPTY,
    ENLARGED_RATIO,
    NATIVE_RATIO,
    NO_PAIRS,
    DifferenceProfiles,
    difference_profiles,
    resampling_traces,
)
from supir_curate.probes.resolution import effective_ratio
from supir_curate.probes.tiles import TILE_PX, busiest_tiles

KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def recompressed(rgb, quality):
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, "JPEG", quality=quality)
    return np.array(Image.open(sink).convert("RGB"))


def traces_of(gray):
    tiles = busiest_tiles(gray)
    return resampling_traces(difference_profiles(tiles), effective_ratio(tiles, noise_sigma(gray)))


def quality_of(gray):
    tiles = busiest_tiles(gray)
    return first_quality(tiles, {(0, 0), block_phase(difference_profiles(tiles).third)})


def resized(gray, factor, kernel):
    small = cv2.resize(gray, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, gray.shape[::-1], interpolation=kernel)


def test_the_busiest_tiles_are_those_with_texture_and_begin_on_the_block_grid():
    picture = np.full((1024, 2048), 128, np.uint8)
    rows, columns = np.indices((TILE_PX, TILE_PX))
    picture[512:768, 1024:1280] = (rows // 8 * 32 + columns // 8) % 256
    picture[512:768, 1024:1280] ^= np.random.default_rng(0).integers(0, 64, (256, 256), np.uint8)
    tiles = busiest_tiles(picture)
    assert tiles.shape == (16, TILE_PX, TILE_PX)
    assert np.array_equal(tiles[0], picture[512:768, 1024:1280])
    assert busiest_tiles(np.zeros((63, 500), np.uint8)).shape[0] == 0
    assert busiest_tiles(np.zeros((100, 500), np.uint8)).shape[1:] == (64, 64)


def test_difference_profiles_are_mean_magnitudes_of_repeated_differences():
    tiles = np.random.default_rng(2).integers(0, 256, (2, 64, 64), np.uint8)
    profiles = difference_profiles(tiles)
    for found, order in ((profiles.first, 1), (profiles.third, 3), (profiles.fifth, 5)):
        for axis in (0, 1):  # along the rows, down the columns
            magnitude = np.abs(np.diff(tiles.astype(int), order, axis=2 - axis)).mean(axis=1 + axis)
            first = 4 - order // 2  # the profile begins at pixel 4, which is the one before the middle
            assert np.allclose(found[axis], magnitude[:, first : first + 56], rtol=1e-6)


def test_doubled_pixels_swing_by_their_closed_form():
    noise = np.random.default_rng(1).normal(128, 30, (256, 256)).clip(0, 255).astype(np.uint8)
    tiles = busiest_tiles(np.repeat(np.repeat(noise, 2, axis=0), 2, axis=1))
    first, third, fifth = difference_profiles(tiles)
    even = np.ones_like(third)
    # On a, a, b, b the third difference is 2 (b - a), on a, b, b, c it is a - c: twice as large and once, by turns.
    of_third = resampling_traces(DifferenceProfiles(even, third, even), ENLARGED_RATIO)
    assert of_third.doubling == pytest.approx((2 - 1) / (2 + 1), rel=0.02)
    # The fifth is 4 (c - a) on a, a, b, b, c, c and a + 5 b - 5 c - d on a, b, b, c, c, d: variances 32 and 52.
    depth = (52**0.5 - 32**0.5) / (52**0.5 + 32**0.5)
    of_fifth = resampling_traces(DifferenceProfiles(even, even, fifth), ENLARGED_RATIO)
    assert of_fifth.doubling == pytest.approx(3 * depth, rel=0.02)
    # The first is 0 within a pair and b - a between pairs: it swings by all of its mean.
    of_first = resampling_traces(DifferenceProfiles(first, even, even), 1.0)
    assert of_first.doubling == pytest.approx(1 - NO_PAIRS, rel=0.02)
    assert traces_of(noise).doubling < 0.01


def test_the_enlargement_of_a_soft_photo_is_seen_by_its_fifth_difference(photos, luma, separation):
    soft = [luma(recompressed(cv2.GaussianBlur(rgb, (0, 0), 1.2), 95)) for rgb in photos.values()]
    fake = [traces_of(resized(gray, 2, cv2.INTER_CUBIC)).doubling for gray in soft]
    assert separation(fake, [traces_of(gray).doubling for gray in soft]) == 1.0  # the third alone: 0.84


def test_blocks_of_a_soft_photo_are_no_enlargement(photos, luma):
    for rgb in photos.values():
        assert traces_of(luma(recompressed(cv2.GaussianBlur(rgb, (0, 0), 1.5), 85))).doubling < 0.03


def test_demosaicing_is_no_enlargement_though_it_interpolates_by_two():
    raw = np.random.default_rng(2).integers(0, 256, (512, 512), np.uint8)
    demosaiced = cv2.cvtColor(raw, cv2.COLOR_BayerRGGB2RGB)
    red, luma = demosaiced[..., 0], cv2.cvtColor(demosaiced, cv2.COLOR_RGB2GRAY)
    enlarged = cv2.resize(np.ascontiguousarray(raw[::2, ::2]), (512, 512), interpolation=cv2.INTER_LINEAR)
    assert traces_of(np.ascontiguousarray(red)).doubling < 0.005
    assert traces_of(luma).doubling < 0.005
    assert traces_of(enlarged).doubling > 0.2  # the same samples, with half-pixel centres


def test_a_trace_counts_by_a_third_where_detail_goes_on():
    swing = 1 + 0.05 * np.where(np.arange(248) % 2, 1, -1) * np.ones((2, 4, 1))
    profiles = DifferenceProfiles(np.ones_like(swing), swing, np.ones_like(swing))
    ratios = (0.3, ENLARGED_RATIO, (ENLARGED_RATIO + NATIVE_RATIO) / 2, NATIVE_RATIO, 1.0, np.nan)
    traces = [resampling_traces(profiles, ratio).doubling for ratio in ratios]
    full = 0.05 / (1 + EMPTY)
    assert traces == pytest.approx([full, full, full * 2 / 3, full / 3, full / 3, full / 3])


@pytest.mark.parametrize("quality", [95, 85])
def test_repeated_pixels_are_seen_through_a_jpeg(photos, quality):
    for rgb in photos.values():
        repeated = np.repeat(np.repeat(rgb[:256, :256], 2, axis=0), 2, axis=1)
        gray = cv2.cvtColor(recompressed(repeated, quality), cv2.COLOR_RGB2GRAY)
        assert traces_of(gray).doubling > 0.04


def test_noise_has_no_doubling_by_chance():
    draws = [np.random.default_rng(seed).normal(128, 20, (512, 512)) for seed in range(4)]
    traces = [traces_of(draw.clip(0, 255).astype(np.uint8)).doubling for draw in draws]
    assert traces == [0.0] * 4  # above 0 unless the chance power is taken off


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_twofold_enlargement_leaves_its_trace_with_every_kernel(photos, luma, separation, kernel):
    native = [traces_of(luma(rgb)).doubling for rgb in photos.values()]
    fake = [traces_of(resized(luma(rgb), 2, kernel)).doubling for rgb in photos.values()]
    assert separation(fake, native) >= 0.97
    assert min(fake) > 0.04


@pytest.mark.parametrize("factor", [1.3, 1.5, 3])
def test_other_factors_leave_theirs(photos, luma, separation, factor):
    native = [traces_of(luma(rgb)).other for rgb in photos.values()]
    fake = [traces_of(resized(luma(rgb), factor, cv2.INTER_CUBIC)).other for rgb in photos.values()]
    assert separation(fake, native) >= 0.97


def test_blocks_are_no_enlargement(photos, luma):
    for rgb in photos.values():
        assert traces_of(luma(recompressed(rgb, 60))).doubling < 0.03


def test_the_first_quality_is_read_after_a_finer_one(photos, luma):
    for rgb in photos.values():
        for quality in (20, 35, 50):
            pixels = luma(recompressed(recompressed(rgb, quality), 95))
            assert quality_of(pixels) == pytest.approx(quality, abs=6)


def test_the_first_quality_is_found_off_the_grid(photos, luma):
    for name in ("astronaut", "coffee", "china"):
        cropped = np.ascontiguousarray(luma(recompressed(photos[name], 40))[3:, 5:])
        assert block_phase(difference_profiles(busiest_tiles(cropped)).third) == (5, 3)
        assert quality_of(cropped) == pytest.approx(40, abs=5)


def test_a_picture_that_was_never_strongly_compressed_has_no_first_quality(photos, luma):
    values = {name: quality_of(luma(rgb)) for name, rgb in photos.items() if name in ("astronaut", "chelsea")}
    assert set(values.values()) == {100.0}
    assert np.isnan(quality_of(np.zeros((40, 40), np.uint8)))
