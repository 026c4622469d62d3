"""The probes that tell enlarged, blurred, noisy and flat pictures from native ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from supir_curate.probes.noise import noise_sigma
from supir_curate.probes.resolution import effective_ratio
from supir_curate.probes.sharpness import laplacian_variance
from supir_curate.probes.texture import FLAT_VARIANCE, measure_texture
from supir_curate.probes.tiles import busiest_tiles


def ratio_of(gray):
    return effective_ratio(busiest_tiles(gray), noise_sigma(gray))


@pytest.mark.parametrize(
    ("factor", "low", "high"), [(1.5, 0.55, 0.95), (2, 0.45, 0.70), (3, 0.3, 0.5), (4, 0.25, 0.36)]
)
def test_an_enlarged_photo_reads_as_about_the_inverse_factor(photos, enlarged, luma, factor, low, high):
    ratios = [ratio_of(luma(enlarged(rgb, factor))) for rgb in photos.values()]
    assert all(low <= ratio <= high for ratio in ratios), ratios


def test_native_photos_read_as_native(photos, luma):
    assert [ratio_of(luma(rgb)) for rgb in photos.values()] == [1.0] * len(photos)


@pytest.mark.parametrize(("factor", "at_least"), [(1.3, 0.92), (2, 1.0), (4, 1.0)])
def test_native_and_enlarged_photos_separate(photos, enlarged, luma, separation, factor, at_least):
    native = [ratio_of(luma(rgb)) for rgb in photos.values()]
    fake = [ratio_of(luma(enlarged(rgb, factor))) for rgb in photos.values()]
    assert separation(native, fake) >= at_least


@pytest.mark.parametrize(("factor", "highest"), [(2, 0.75), (3, 0.55)])
def test_noise_after_enlarging_does_not_pass_for_detail(photos, enlarged, luma, factor, highest):
    rng = np.random.default_rng(7)
    for rgb in photos.values():
        fake = enlarged(rgb, factor)
        noisy = np.clip(fake + rng.normal(0, 10, fake.shape), 0, 255).astype(np.uint8)
        assert ratio_of(luma(noisy)) < highest


def test_a_picture_without_contrast_or_size_has_no_ratio():
    assert np.isnan(ratio_of(np.full((128, 128), 90, np.uint8)))
    assert np.isnan(ratio_of(np.zeros((63, 500), np.uint8)))


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_white_noise_is_read_within_two_percent(sigma):
    picture = (
        np.clip(np.random.default_rng(1).normal(128, sigma, (512, 512)), 0, 255).round().astype(np.uint8)
    )
    assert noise_sigma(picture) == pytest.approx(sigma, rel=0.02)


def test_a_slope_is_not_noise():
    slope = np.tile(np.arange(0, 250, dtype=np.uint8), (64, 1))
    assert noise_sigma(slope) == 0.0


def test_noise_of_clipped_cells_is_left_out():
    picture = np.zeros((64, 64), np.uint8)
    picture[:, 32:] = np.random.default_rng(2).normal(128, 6, (64, 32)).astype(np.uint8)
    assert noise_sigma(picture) == pytest.approx(6, rel=0.15)


def test_alternating_columns_have_their_closed_form_laplacian_variance():
    # Each pixel differs by 10 from both side neighbours: the response is +20 or -20.
    stripes = np.tile(np.array([100, 110], np.uint8), (64, 32))
    assert laplacian_variance(stripes, noise_sigma=0) == pytest.approx(400.0)
    assert laplacian_variance(stripes, noise_sigma=2) == pytest.approx(400.0 - 20 * 4)


def test_sharpness_falls_with_every_blur(photos, luma):
    for rgb in photos.values():
        blurred = [cv2.GaussianBlur(rgb, (0, 0), sigma) if sigma else rgb for sigma in (0, 1, 2, 4)]
        values = [laplacian_variance(luma(picture), 0) for picture in blurred]
        assert values == sorted(values, reverse=True)
        assert values[0] > 10 * values[2]


def test_a_sharp_half_counts_as_sharp(photos, luma):
    sharp = luma(photos["astronaut"])
    half = sharp.copy()
    half[:, 256:] = cv2.GaussianBlur(sharp, (0, 0), 8)[:, 256:]
    assert laplacian_variance(half, 0) > 0.5 * laplacian_variance(sharp, 0)


def test_noise_alone_is_flat_and_a_chessboard_is_not():
    noise = np.random.default_rng(3).normal(128, 8, (256, 256)).astype(np.uint8)
    assert measure_texture(noise, noise_sigma=0.0).flat_share == 0.0
    assert measure_texture(noise, noise_sigma=8.0).flat_share > 0.95
    board = (np.indices((256, 256)).sum(axis=0) // 4 % 2 * 200).astype(np.uint8)
    assert measure_texture(board, 0.0).flat_share == 0.0


def test_the_texture_map_is_the_logarithm_of_the_sobel_variance():
    picture = np.zeros((64, 64), np.uint8)
    picture[:, 48:] = 100
    cells = measure_texture(picture, 0.0).cells
    # In a 32 px cell two columns have the magnitude 400, thirty have 0.
    variance = 400**2 * (2 / 32) * (30 / 32)
    assert variance > FLAT_VARIANCE
    assert cells.tolist() == [[0, round(16 * np.log2(1 + variance))]] * 2


def test_entropies_have_their_closed_forms():
    half = np.zeros((64, 64), np.uint8)
    half[::2] = 255
    texture = measure_texture(half, 0.0)
    assert texture.entropy_bits == pytest.approx(1.0)
    # Pairs: 0-0 and 255-255 along the rows, 0-255 and 255-0 across, each 1/4 up to the missing last row.
    assert texture.glcm_bits == pytest.approx(2.0, abs=0.001)
    assert measure_texture(np.full((64, 64), 9, np.uint8), 0.0).entropy_bits == 0.0
