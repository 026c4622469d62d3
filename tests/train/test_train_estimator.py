"""`stage: estimator`: what it learns from traces, and that nothing else moves."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from supir_train.run import prepare, train


@pytest.fixture
def recipe(tmp_path):
    """Noise of any strength."""
    path = tmp_path / "noise.yaml"
    noise = "{do: noise, gaussian_probability: 1.0, sigma: [1, 80], poisson_scale: [1, 1]}"
    path.write_text(f"name: noise\nsteps: [{noise}]\n")
    return path


def test_the_estimator_learns_the_targets_of_traces(configure, recipe, tmp_path):
    config = configure(
        "estimator",
        tmp_path / "run",
        data__recipe=recipe,
        optimize__steps=60,
        optimize__lr=2e-3,
        optimize__ema_decay=0.9,
        validation__every=1000,
    )
    outcome = train(prepare(config))
    lines = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    first, last = (line for line in lines if "validation_loss" in line)
    assert last["validation_loss"] < 0.7 * first["validation_loss"]
    assert last["validation_error_noise_sigma"] < 12  # the best constant has 20
    assert outcome.model is not None
    assert load_file(outcome.model / "estimator" / "diffusion_pytorch_model.safetensors")
