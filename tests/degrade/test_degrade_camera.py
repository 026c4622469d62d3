from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import convolve
from skimage.color import rgb2xyz

from supir_degrade import Trace, draw, load_recipe, replay, sample_generator
from supir_degrade.camera import add_camera_noise, demosaic, mosaic
from supir_degrade.linear_light import to_gamma, to_linear, to_uint16
from supir_degrade.targets import estimate_targets


def test_linear_light_is_that_of_scikit_image() -> None:
    gray = np.linspace(0, 1, 1000, dtype=np.float32)
    luminance = rgb2xyz(np.repeat(gray[:, None], 3, axis=1))[:, 1]
    np.testing.assert_allclose(to_linear(gray), luminance, atol=2e-5)
    np.testing.assert_allclose(to_gamma(to_uint16(to_linear(gray))), gray, atol=0.06 / 255)


def test_mosaic_is_rggb() -> None:
    colours = np.broadcast_to(np.float32([0.1, 0.2, 0.3]), (5, 6, 3))
    np.testing.assert_allclose(mosaic(colours)[:2, :2], [[0.1, 0.2], [0.2, 0.3]])
    np.testing.assert_allclose(mosaic(colours)[2:4, 2:4], [[0.1, 0.2], [0.2, 0.3]])


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_demosaicing_is_the_bilinear_one_computed_by_scipy(size: tuple[int, int]) -> None:
    raw = np.random.default_rng(0).integers(0, 65536, size, dtype=np.uint16)
    y, x = np.indices(size)
    red, blue = (y % 2 == 0) & (x % 2 == 0), (y % 2 == 1) & (x % 2 == 1)
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    expected = [
        convolve(np.where(mask, raw, 0).astype(float), kernel, mode="mirror")
        for mask, kernel in ((red, square), (~red & ~blue, cross), (blue, square))
    ]
    assert np.abs(demosaic(raw) - np.stack(expected, axis=-1)).max() <= 1


def test_the_noise_of_a_sample_is_shot_times_light_plus_read() -> None:
    level = np.float32(0.5)
    shot, read_sigma = 0.004, 0.02
    noisy = add_camera_noise(np.full((400, 400, 3), level), shot=shot, read_sigma=read_sigma, seed=1)
    light = float(to_linear(np.array([level]))[0])
    expected = np.sqrt(shot * light + read_sigma**2)
    # Red at its own sites is as the sensor gave it, at blue's the mean of four.
    assert to_linear(noisy[::2, ::2, 0]).std() == pytest.approx(expected, rel=0.02)
    assert to_linear(noisy[1::2, 1::2, 0]).std() == pytest.approx(expected / 2, rel=0.02)
    assert to_linear(noisy).mean() == pytest.approx(light, abs=1e-3)


def test_a_noiseless_sensor_keeps_flat_colour_and_gives_edges_false_colour() -> None:
    flat = np.broadcast_to(np.float32([0.8, 0.4, 0.2]), (9, 11, 3))
    np.testing.assert_allclose(add_camera_noise(flat, shot=0, read_sigma=0, seed=0), flat, atol=0.1 / 255)
    lines = np.zeros((16, 16, 3), np.float32)
    lines[:, ::2] = 1
    false = add_camera_noise(lines, shot=0, read_sigma=0, seed=0)
    # Red sees only the white columns, blue only the black ones.
    np.testing.assert_allclose(false[..., 0], 1, atol=1e-6)
    np.testing.assert_allclose(false[..., 2], 0, atol=1e-6)


def test_a_target_is_the_noise_of_a_demosaiced_gray_picture() -> None:
    op = {"op": "camera_noise", "shot": 0.003, "read_sigma": 0.01, "seed": 4}
    trace = Trace.model_validate({"recipe": "x", "height": 400, "width": 400, "ops": [op]})
    noisy = replay(np.full((400, 400, 3), 128, np.uint8), trace)
    measured = np.sqrt(noisy.astype(float).var(axis=(0, 1)).mean())
    assert estimate_targets(trace)["target.noise_sigma"] == pytest.approx(measured, rel=0.03)


def test_web2026_takes_sensor_noise_in_its_share_and_log_uniformly() -> None:
    recipe = load_recipe("web2026", ["clean_share=0"])
    drawn = [op for n in range(4000) for op in draw(recipe, (64, 64), sample_generator(2, "k", n)).ops]
    noises = [op for op in drawn if op.op == "camera_noise"]
    assert stats.binomtest(len(noises), 4000, 0.6 * 0.4).pvalue > 1e-4
    assert stats.binomtest(sum(op.op == "moire" for op in drawn), 4000, 0.04).pvalue > 1e-4
    logs = [math.log10(op.shot) for op in noises]
    assert stats.kstest(logs, stats.uniform(-4, 2).cdf).pvalue > 1e-4


def test_equal_seeds_give_equal_bytes(astronaut: np.ndarray) -> None:
    image = astronaut[:65, :63].astype(np.float32) / 255
    first, again, other = (
        add_camera_noise(image, shot=0.01, read_sigma=0.01, seed=seed) for seed in (1, 1, 2)
    )
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes() != other.tobytes()
