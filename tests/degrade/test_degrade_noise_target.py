from __future__ import annotations

import math

import numpy as np
import pytest

from supir_degrade import Trace, draw, load_recipe, sample_generator
from supir_degrade.kernels import gaussian_kernel
from supir_degrade.noise_target import noise_sigma
from supir_degrade.pipeline import apply_op

SIDE = 512
NOISE = {"op": "gaussian_noise", "sigma": 10, "gray": False, "seed": 1}
BLUR = {"op": "blur", "kernel": "aniso", "size": 21, "sigma_x": 0.7, "sigma_y": 2.5, "rotation": 0.8}
SENSOR = {"op": "camera_noise", "shot": 0.003, "read_sigma": 0.01, "seed": 3}
NOT_LINEAR = ("jpeg", "webp", "avif", "video", "vae", "moire", "poisson_noise")


def _trace(*ops: dict) -> Trace:
    return Trace.model_validate({"recipe": "x", "height": SIDE, "width": SIDE, "ops": ops})


def _resize(side: int, interpolation: str, width: int | None = None) -> dict:
    return {"op": "resize", "height": side, "width": width or side, "interpolation": interpolation}


def _measured(trace: Trace) -> float:
    """Root mean square over the channels of what the operations leave in flat gray, of 255."""
    values = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    for op in trace.ops:
        values = apply_op(values, op)
    inner = values[6:-6, 6:-6].astype(np.float64) * 255
    return float(np.sqrt(inner.var(axis=(0, 1)).mean()))


def test_a_kernel_leaves_the_sum_of_its_squared_weights() -> None:
    kernel = gaussian_kernel("aniso", 21, sigma_x=0.7, sigma_y=2.5, rotation=0.8, beta=1).astype(float)
    expected = 10 * math.sqrt((kernel**2).sum())
    assert noise_sigma(_trace(NOISE, BLUR)) == pytest.approx(expected, rel=1e-6)
    assert noise_sigma(_trace(BLUR, NOISE)) == pytest.approx(10, rel=1e-9)


@pytest.mark.parametrize(
    ("resize", "sigma"),
    [
        (_resize(128, "area"), 10 / 4),
        (_resize(128, "area", width=256), 10 / math.sqrt(8)),
        # Weights of a quarter and three quarters, along both axes.
        (_resize(1024, "bilinear"), 10 * (0.25**2 + 0.75**2)),
        # No averaging: each new pixel is the mean of the four around it.
        (_resize(128, "bilinear"), 5),
    ],
)
def test_a_resampling_has_its_closed_form(resize: dict, sigma: float) -> None:
    assert noise_sigma(_trace(NOISE, resize)) == pytest.approx(sigma, rel=1e-6)


@pytest.mark.parametrize(
    "ops",
    [
        [{**NOISE, "gray": True}, {"op": "sinc", "size": 21, "cutoff": 1.3}],
        [NOISE, {"op": "motion", "length_px": 6, "angle": 0.6}, _resize(300, "bicubic")],
        [NOISE, _resize(490, "lanczos"), _resize(200, "bilinear", width=331), _resize(512, "bicubic")],
        [NOISE, BLUR, _resize(200, "area"), {**NOISE, "sigma": 4, "seed": 2}, _resize(512, "lanczos")],
        [{**NOISE, "sigma": 3}, {"op": "sharpen", "weight": 1.5, "radius_px": 2, "threshold": 0}],
        [{**NOISE, "sigma": 6}, {"op": "sharpen", "weight": 0.5, "radius_px": 25, "threshold": 10}],
        [SENSOR],
        [SENSOR, {"op": "defocus", "radius_px": 1.7}],
        [NOISE, {**BLUR, "sigma_y": 0.9}, {**SENSOR, "shot": 1e-6, "read_sigma": 0}],
        [{"op": "moire", "pitch": 1, "angle": 0, "lens_sigma": 1.9, "blur_sigma_px": 0}, NOISE,
         {"op": "moire", "pitch": 1, "angle": 0, "lens_sigma": 1.9, "blur_sigma_px": 0.8}],
    ],
)  # fmt: skip
def test_flat_gray_holds_the_noise_that_the_target_says(ops: list[dict]) -> None:
    assert noise_sigma(_trace(*ops)) == pytest.approx(_measured(_trace(*ops)), rel=0.025)


@pytest.mark.parametrize("name", ["realesrgan", "web2026"])
def test_drawn_traces_leave_the_noise_that_the_target_says(name: str) -> None:
    recipe, ratios = load_recipe(name, ["clean_share=0"]), []
    for number in range(18):
        drawn = draw(recipe, (SIDE, SIDE), sample_generator(3, "k", number))
        trace = drawn.model_copy(update={"ops": tuple(op for op in drawn.ops if op.op not in NOT_LINEAR)})
        sigma = noise_sigma(trace)
        if not any(op.op.endswith("_noise") for op in trace.ops):
            assert sigma == 0
        else:
            ratios.append(sigma / _measured(trace))
    assert len(ratios) >= 6
    # Few pixels are left of a small canvas, and a resampling near a whole factor drifts through its phases slowly.
    assert np.median(ratios) == pytest.approx(1, abs=0.01)
    assert max(abs(ratio - 1) for ratio in ratios) < 0.12


def test_a_small_picture_has_its_noise_too() -> None:
    trace = Trace.model_validate(
        {
            "recipe": "x",
            "height": 7,
            "width": 5,
            "ops": [NOISE, _resize(1, "area"), _resize(300, "bicubic", 4)],
        }
    )
    assert noise_sigma(trace) == pytest.approx(10 / math.sqrt(35), rel=1e-6)
