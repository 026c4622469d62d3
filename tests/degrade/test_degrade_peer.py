"""Agreement with basicsr 1.4.2 (skipped without it), and what the published second stage says of our draws."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from supir_degrade import draw, load_recipe, sample_generator
from supir_degrade.filters import convolve
from supir_degrade.kernels import gaussian_kernel
from supir_degrade.trace import Op

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "degrade.py"
BASICSR = os.environ.get("SUPIR_BASICSR", "")
NUM_DRAWS = 4000
# As in test_degrade_draw.py: a true recipe fails once in ten thousand, and seeds are fixed.
P_VALUE = 1e-4
PUBLISHED = {
    "realesrgan": {"sigma": (0.2, 1.5), "noise": (1, 25), "poisson": (0.05, 2.5), "factor": (0.3, 1.2)},
    "light": {"sigma": (0.2, 1.0), "noise": (1, 12), "poisson": (0.05, 1.0), "factor": (0.6, 1.2)},
}


@cache
def _second_stages(recipe: str) -> list[tuple[int, list[Op]]]:
    """Of each draw the width before the second stage, and the operations from its blur on."""
    loaded = load_recipe(recipe, ["clean_share=0", "scale={4: 1}"])
    found = []
    for number in range(NUM_DRAWS):
        ops = draw(loaded, (512, 512), sample_generator(11, "key", number)).ops
        start = next(i for i, op in enumerate(ops) if op.op == "jpeg") + 1
        width = next((op.width for op in ops[:start] if op.op == "resize"), 512)
        found.append((width, list(ops[start:])))
    return found


def _is_uniform(values: list[float], low: float, high: float) -> bool:
    return len(values) > 100 and stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > P_VALUE


def _resize_factors(recipe: str) -> Iterator[float]:
    for width, ops in _second_stages(recipe):
        before_noise = ops[: next(i for i, op in enumerate(ops) if op.op.endswith("noise"))]
        yield next((op.width for op in before_noise if op.op == "resize"), width) / 128


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_second_stage_parameters_are_uniform_over_the_published_ranges(recipe: str) -> None:
    published = PUBLISHED[recipe]
    ops = [op for _, stage in _second_stages(recipe) for op in stage]
    assert _is_uniform([op.sigma_x for op in ops if op.op == "blur"], *published["sigma"])
    assert _is_uniform([op.sigma for op in ops if op.op == "gaussian_noise"], *published["noise"])
    assert _is_uniform([op.scale for op in ops if op.op == "poisson_noise"], *published["poisson"])
    qualities = [op.quality for op in ops if op.op == "jpeg"]
    low = 30 if recipe == "realesrgan" else 60
    counts = [qualities.count(quality) for quality in range(low, 96)]
    assert sum(counts) == NUM_DRAWS
    assert stats.chisquare(counts).pvalue > P_VALUE


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_second_resize_is_relative_to_the_output_in_the_published_shares(recipe: str) -> None:
    low, high = PUBLISHED[recipe]["factor"]
    factors = list(_resize_factors(recipe))
    # Sides are whole pixels, so that the factors of 128 px come in steps of 1 / 128; half a step is given back.
    down = [factor + 0.5 / 128 for factor in factors if factor < 1]
    up = [factor + 0.5 / 128 for factor in factors if factor > 1]
    assert stats.binomtest(len(down), NUM_DRAWS, 0.4).pvalue > P_VALUE
    # A factor below 1 + 1 / 128 becomes no enlarging at all.
    assert stats.binomtest(len(up), NUM_DRAWS, 0.3 * (1 - 1 / 128 / (high - 1))).pvalue > P_VALUE
    assert _is_uniform(down, low, 1)
    assert _is_uniform(up, 1 + 1 / 128, high)


@pytest.mark.parametrize(
    ("kind", "sigma_x", "sigma_y"),
    [("iso", 2.8, 2.8), ("iso", 0.2, 0.2), ("aniso", 0.9, 0.3), ("plateau_iso", 2.0, 2.0)],
)
def test_convolve_gives_the_dense_result_when_it_takes_a_short_cut(
    astronaut: np.ndarray, kind: str, sigma_x: float, sigma_y: float
) -> None:
    image = astronaut[200:280, 150:240].astype(np.float64) / 255
    kernel = gaussian_kernel(kind, 21, sigma_x=sigma_x, sigma_y=sigma_y, rotation=0.4, beta=1.5)
    dense = kernel.astype(np.float64)
    expected = np.stack([ndimage.correlate(image[..., c], dense, mode="mirror") for c in range(3)], axis=-1)
    np.testing.assert_allclose(convolve(image.astype(np.float32), kernel), expected, atol=1.5e-6)


def test_the_benchmark_says_where_the_peer_is_to_be_had() -> None:
    ended = subprocess.run([sys.executable, BENCHMARK], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "basicsr-1.4.2.tar.gz from https://pypi.org/project/basicsr" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "peer", "options", "message"),
    [
        ("degrade.py", __file__, ["--agreement-only"], "is no sound tar archive (file could not be opened"),
        ("degrade_batch.py", "/nope", ["--size", "64"], "/nope has no basicsr/data/degradations.py; give"),
    ],
)
def test_a_wrong_peer_is_one_line(name: str, peer: str, options: list[str], message: str) -> None:
    command = [sys.executable, BENCHMARK.with_name(name), peer, *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "basicsr-1.4.2.tar.gz from https://pypi.org" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.skipif(not BASICSR, reason="SUPIR_BASICSR does not name basicsr-1.4.2.tar.gz or its folder")
def test_outputs_agree_with_basicsr() -> None:
    command = [sys.executable, BENCHMARK, BASICSR, "--agreement-only", "--samples", "150"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "MISS" not in ended.stdout
    assert ended.stdout.splitlines()[-1] == "26 of 26 agree"
