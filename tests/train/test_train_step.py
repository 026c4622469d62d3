"""One step against the same step written out by hand: what each key of the config does to the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from supir_model import load_supir
from supir_model.diffusion import noised_input
from supir_train.adapter import adapter_phase
from supir_train.data import training_batches
from supir_train.image_noise import ImageNoise, image_noise, keyed_generator
from supir_train.loss_config import NoiseLossConfig
from supir_train.noise_loss import noise_loss
from supir_train.order import Position
from supir_train.run import prepare, train

CPU = torch.device("cpu")


def two_images(step: int) -> ImageNoise:
    return image_noise(0, "prior", (2 * step, 2 * step + 1), images_a_step=2)


@pytest.mark.parametrize("grad_clip", [1e-3, 1e3])
def test_a_step_is_adamw_on_clipped_gradients(grad_clip, configure, tmp_path):
    config = configure(
        "adapter",
        tmp_path / "run",
        optimize__steps=1,
        optimize__lr=0.01,
        optimize__weight_decay=0.5,
        optimize__grad_clip=grad_clip,
        optimize__betas="[0.8, 0.9]",
        optimize__ema_decay=0,
        validation__crops=0,
    )
    run = prepare(config)
    by_hand = prepare(config)
    train(run)
    phase = by_hand.phases[0]
    phase.begin()
    batch = next(training_batches(config, images=8, degraded=True, start=Position())).to(CPU)
    phase.loss(batch, image_noise(config.seed, "adapter", range(8), images_a_step=8))["loss"].backward()
    parameters = by_hand.supir.trainable("adapter")
    gradients = {name: value.grad for name, value in parameters.items()}
    norm = torch.sqrt(sum(gradient.square().sum() for gradient in gradients.values()))
    scale = min(1.0, grad_clip / (float(norm) + 1e-6))
    after = run.supir.trainable("adapter")
    for name, value in parameters.items():
        gradient = gradients[name] * scale
        # the first step of Adam: both moments over their bias corrections are the gradient and its square
        expected = value * (1 - 0.01 * 0.5) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-5, msg=name)


def test_the_networks_are_told_a_size_from_the_range(monkeypatch):
    supir = load_supir(preset="tiny")
    told, predict = [], supir.predict_eps

    def noted(*given: Any) -> torch.Tensor:
        told.extend(map(tuple, given[4].tolist()))
        return predict(*given)

    monkeypatch.setattr(supir, "predict_eps", noted)
    latent = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(8):
        noise_loss(supir, latent, None, ("", ""), (200, 900), NoiseLossConfig(), two_images(step))
    assert all(sizes == (sizes[0], sizes[0], 0, 0, sizes[0], sizes[0]) for sizes in told)
    assert all(200 <= sizes[0] <= 900 for sizes in told)
    assert len(set(told)) == 16


def test_the_adapter_learns_on_samples_of_the_posterior(configure, tmp_path, monkeypatch):
    config = configure("adapter", tmp_path / "run")
    supir = load_supir(preset="tiny")
    seen = []
    monkeypatch.setattr(
        "supir_train.adapter.noise_loss", lambda _supir, latent, *_rest: seen.append(latent) or latent.mean()
    )
    batch = next(training_batches(config, images=8, degraded=True, start=Position())).to(CPU)
    for seed in (0, 0, 1):
        noise = image_noise(seed, "adapter", batch.numbers, images_a_step=8)
        adapter_phase(supir, config).loss(batch, noise)
    mode = supir.encode(batch.hq)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], mode)


def test_a_new_adapter_starts_near_the_prior_and_a_learnt_one_is_left_alone(configure, tmp_path):
    config = configure("adapter", tmp_path / "run")
    run = prepare(config)
    batch = next(training_batches(config, images=8, degraded=True, start=Position())).to(CPU)

    latent, z_lq = run.supir.encode(batch.hq), run.supir.encode_lq(batch.lq)
    timestep = torch.arange(100, 900, 100)
    x_in = noised_input(latent, torch.randn(latent.shape, generator=keyed_generator("noise")), timestep)

    def distance() -> float:
        text, sizes = run.supir.encode_prompt(batch.prompts), run.supir.time_ids(32, 32, 8)
        eps, plain = (run.supir.predict_eps(x_in, timestep, z_lq, text, sizes, scale) for scale in (1.0, 0.0))
        return float((eps - plain).square().mean().sqrt())

    with torch.no_grad():
        before = distance()
        run.phases[0].begin()
        assert distance() < 0.5 * before
        run.supir.connectors.layers[0].gamma.weight[0, 0, 0, 0] = 1.0
        run.supir.connectors.layers[1].norm.weight[0] = 7.0
        run.phases[0].begin()
    assert run.supir.connectors.layers[1].norm.weight[0] == 7.0
