"""The camera that benchmarks/probes_camera.py simulates, against closed forms."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from probes_camera import (
    DEMOSAICING,
    OLD_DEMOSAICING,
    Camera,
    _bayer,
    _counted,
    _demosaiced,
    _honeycomb,
    _sampled,
    camera_jpeg,
    draw_camera,
    draw_digicam,
)

PLAIN = Camera(
    top=1,
    left=1,
    lens_sigma_px=0.5,
    iso=100,
    demosaicing="Malvar",
    denoised_share=0.5,
    sharpen_sigma_px=0.8,
    sharpen_amount=0.5,
    quality=95,
)


@pytest.mark.parametrize("method", [*DEMOSAICING, *OLD_DEMOSAICING[1:]])
def test_every_demosaicing_gives_an_even_colour_and_its_ramps_back(method):
    sites = _honeycomb((32, 32)) if method == "honeycomb" else _bayer((32, 32))
    even = np.broadcast_to(np.float32([0.8, 0.4, 0.1]), (32, 32, 3))
    assert np.abs(_demosaiced(_sampled(even, sites), sites, method) - even).max() < 1e-4
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 32, dtype=np.float32)[:, None, None], (32, 32, 3))
    # Of a square, red lies half a row above its middle and blue half a row below.
    within = 0.7 * 0.6 / 31 if method == "squares" else 1e-4
    assert np.abs(_demosaiced(_sampled(ramp, sites), sites, method) - ramp)[8:-8, 8:-8].max() < within


def test_half_of_a_honeycomb_s_pixels_are_samples_and_half_of_those_green():
    assert [(_honeycomb((64, 64)) == colour).mean() for colour in (-1, 0, 1, 2)] == [0.5, 0.125, 0.25, 0.125]


@pytest.mark.parametrize(("iso", "level"), [(100, 0.5), (1600, 0.5), (1600, 0.1)])
def test_the_sensor_has_shot_and_read_noise(iso, level):
    counted = _counted(np.full((500, 500), level, np.float32), iso, np.random.default_rng(0))
    white = 20_000 * 100 / iso
    assert counted.std() == pytest.approx(np.sqrt(level * white + 3.0**2) / white, rel=0.02)
    assert counted.mean() == pytest.approx(level, rel=0.002)


def test_a_scene_becomes_a_camera_s_file_that_its_colour_survives():
    rgb = np.full((200, 330, 3), (180, 120, 90), np.uint8)
    jpeg = camera_jpeg(rgb, PLAIN, np.random.default_rng(0))
    image = Image.open(io.BytesIO(jpeg))
    assert image.size == (256, 144)  # 264 x 160 less the mosaic's phase, in whole 16 px blocks
    assert image.layer[0][1:3] == (2, 2)  # luma at twice the rate of chroma both ways
    assert np.abs(np.asarray(image, float).mean((0, 1)) - (180, 120, 90)).max() < 1.5


def test_a_name_draws_its_camera_and_its_noise_again(photos):
    draws = [np.random.default_rng([7, *b"astronaut"]) for _ in range(2)]
    files = [camera_jpeg(photos["astronaut"], draw_camera(rng), rng) for rng in draws]
    assert files[0] == files[1]
    assert draw_camera(np.random.default_rng(1)) != draw_camera(np.random.default_rng(2))


@pytest.mark.parametrize("seed", range(6))
def test_a_digicam_of_2000_writes_a_small_file_of_the_scene(photos, seed):
    rng = np.random.default_rng(seed)
    camera = draw_digicam(rng)
    jpeg = camera_jpeg(np.tile(photos["coffee"], (3, 3, 1)), camera, rng)
    image = Image.open(io.BytesIO(jpeg))
    assert camera.demosaicing in OLD_DEMOSAICING
    sensor = min(camera.max_short_side_px, 1200 / 1.25)
    assert sensor - 32 < min(image.size) <= sensor
    assert np.abs(np.asarray(image, float).mean((0, 1)) - photos["coffee"].mean((0, 1))).max() < 8
