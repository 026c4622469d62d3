"""A trace may come from anywhere: what gives no picture, or takes all memory, is refused in one line."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from supir_console import UserError
from supir_degrade import Trace, degrade, load_recipe, replay, sample_generator
from supir_degrade.batch import replay_batch
from supir_degrade.draw import draw

BLUR = {"op": "blur", "kernel": "iso", "size": 7, "sigma_x": 1.0, "sigma_y": 1.0}


def trace_of(*operations, side=64):
    return json.dumps({"version": 1, "recipe": "x", "height": side, "width": side, "ops": operations})


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (BLUR | {"sigma_x": float("nan")}, "sigma_x: Input should be"),
        (BLUR | {"sigma_x": 0.0}, "sigma_x: Input should be greater than or equal to 0.01"),
        (BLUR | {"size": 8}, "size: Value error, a kernel has an odd side, got 8"),
        (BLUR | {"size": 60001}, "size: Input should be less than or equal to 101"),
        ({"op": "defocus", "radius_px": 30000.0}, "radius_px: Input should be less than or equal to 100"),
        (
            {"op": "resize", "height": 0, "width": 9, "interpolation": "area"},
            "height: Input should be greater",
        ),
        (
            {"op": "resize", "height": 10**5, "width": 10**5, "interpolation": "area"},
            "more than 536870912 pixels",
        ),
        ({"op": "gaussian_noise", "sigma": 5.0, "gray": False, "seed": -1}, "seed: Input should be greater"),
        ({"op": "jpeg", "quality": 500}, "quality: Input should be less than or equal to 100"),
        ({"op": "webp", "quality": 50, "method": 9}, "method: Input should be less than or equal to 6"),
        ({"op": "avif", "quality": 50, "speed": 99}, "speed: Input should be less than or equal to 10"),
        ({"op": "video", "codec": "h264", "crf": 900, "preset": "fast"}, "crf: Input should be less"),
        ({"op": "vae", "weights": "mini", "digest": "x"}, "digest: String should match pattern"),
    ],
)
def test_numbers_that_make_no_picture_are_refused(operation, text):
    with pytest.raises(UserError, match=f"not a degradation trace: .*{text}"):
        Trace.from_json(trace_of(operation))


@pytest.mark.parametrize("recipe", ["realesrgan", "light", "web2026"])
def test_every_drawn_trace_is_within_the_limits_and_reads_back(recipe):
    ranges = load_recipe(recipe)
    for number in range(300):
        trace = draw(ranges, (512, 384), sample_generator(0, str(number), 0))
        assert Trace.from_json(trace.to_json()) == trace


def test_a_trace_that_ends_at_another_size_is_not_replayed():
    trace = Trace.from_json(trace_of({"op": "resize", "height": 1, "width": 64, "interpolation": "area"}))
    image = np.zeros((64, 64, 3), np.uint8)
    told = r"the trace ends at \(1, 64\) px and not at its picture's \(64, 64\)"
    with pytest.raises(UserError, match=told):
        replay(image, trace)
    with pytest.raises(UserError, match=told):
        replay_batch(torch.from_numpy(image).permute(2, 0, 1)[None], [trace])


def test_refusing_takes_no_time():
    began = time.process_time()
    with pytest.raises(UserError):
        Trace.from_json(
            trace_of({"op": "moire", "pitch": 1.0, "angle": 0.0, "lens_sigma": 0.5, "blur_sigma_px": 1e5})
        )
    assert time.process_time() - began < 1


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(UserError, match=r"uint8 \(0, 0, 3\), it has no pixels"):
        degrade(np.zeros((0, 0, 3), np.uint8), load_recipe("realesrgan"), sample_generator(0, "a", 0))
