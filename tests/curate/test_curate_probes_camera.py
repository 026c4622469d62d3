"""The camera that benchmarks/probes_camera.py simulates, against closed forms."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from probes_camera import DEMOSAICING, Camera, _counted, _demosaiced, _mosaic, camera_jpeg, draw_camera

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


@pytest.mark.parametrize("method", DEMOSAICING)
def test_every_demosaicing_gives_an_even_colour_and_its_ramps_back(method):
    even = np.broadcast_to(np.float32([0.8, 0.4, 0.1]), (32, 32, 3))
    assert np.abs(_demosaiced(_mosaic(even), method) - even).max() < 1e-4
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 32, dtype=np.float32)[:, None, None], (32, 32, 3))
    assert np.abs(_demosaiced(_mosaic(ramp), method) - ramp)[4:-4, 4:-4].max() < 1e-4


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
