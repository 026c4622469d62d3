"""The diffusion loss against its closed forms: timesteps, weights, the noise's and the velocity's error."""

from __future__ import annotations

import math

import pytest
import torch

from supir_model import load_supir
from supir_model.diffusion import sigma_table
from supir_model.presets import PREDICTION_TYPES
from supir_train.image_noise import ImageNoise, image_noise
from supir_train.loss_config import NoiseLossConfig
from supir_train.noise_loss import noise_loss, timestep_weights, timesteps_at


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, seed: int = 0) -> ImageNoise:
    return image_noise(seed, "test", range(count), images_a_step=count)


def test_uniform_timesteps_fill_the_range_in_strata():
    drawn = timesteps_at(noise(1000).stratified(), NoiseLossConfig())
    assert drawn.sort().values.tolist() == list(range(1000))
    some = timesteps_at(noise(50).stratified(), NoiseLossConfig(timestep_range=(100, 199)))
    assert (int(some.min()), int(some.max())) == (pytest.approx(100, abs=2), pytest.approx(199, abs=2))


def test_logit_normal_timesteps_have_its_quartiles():
    config = NoiseLossConfig(timesteps="logit_normal", logit_mean=-1.0, logit_deviation=0.5)
    drawn = timesteps_at(noise(4000).stratified(), config).float()
    for share, normal in ((0.25, -0.6745), (0.5, 0.0), (0.75, 0.6745)):
        expected = 1000 / (1 + math.exp(1.0 - 0.5 * normal))
        assert float(drawn.quantile(share)) == pytest.approx(expected, abs=1.0)


def test_min_snr_weights_are_gamma_over_snr_capped_at_one():
    timestep = torch.tensor([0, 300, 999])
    snr = sigma_table()[timestep] ** -2
    expected = torch.minimum(snr, torch.tensor(5.0)) / snr
    for predicted in PREDICTION_TYPES:
        weights = timestep_weights(timestep, NoiseLossConfig(min_snr_gamma=5.0), predicted)
        torch.testing.assert_close(weights, expected)
    assert timestep_weights(timestep, NoiseLossConfig(), "epsilon").tolist() == [1, 1, 1]


@pytest.mark.parametrize("predicted", ["v_prediction", "sample"])
def test_the_loss_of_a_prior_is_the_error_of_what_it_predicts(predicted):
    latent = torch.randn(4, 8, 8, 8, generator=generator(1))
    supir = load_supir(preset="tiny")
    supir.unet.register_to_config(prediction_type=predicted)
    losses = noise_loss(supir, latent, None, ("a cat",) * 4, (128, 128), NoiseLossConfig(), noise(4))
    drawn = noise(4)
    timestep = timesteps_at(drawn.stratified(), NoiseLossConfig())
    eps, sigma = drawn.normal(latent), sigma_table()[timestep][:, None, None, None]
    target = latent if predicted == "sample" else (eps - sigma * latent) / (sigma**2 + 1).sqrt()
    output = supir.unet(
        (latent + sigma * eps) / (sigma**2 + 1).sqrt(),
        timestep,
        supir.encode_prompt(["a cat"] * 4).context,
        added_cond_kwargs={
            "text_embeds": supir.encode_prompt(["a cat"] * 4).pooled,
            "time_ids": supir.time_ids(128, 128, 4),
        },
    ).sample
    assert float(losses["loss"]) == pytest.approx(float((output - target).square().mean()), rel=1e-4)


@pytest.mark.parametrize("config", [NoiseLossConfig(), NoiseLossConfig(min_snr_gamma=5.0, offset=0.5)])
def test_the_noise_loss_is_the_weighted_error_of_the_noise(config, monkeypatch):
    supir = load_supir(preset="tiny")
    seen = {}

    def predict(x_in, timestep, *_rest):
        seen.update(x_in=x_in, timestep=timestep)
        return torch.zeros_like(x_in)

    monkeypatch.setattr(supir, "predict_eps", predict)
    latent = torch.randn(4, 8, 8, 8, generator=generator(1))
    losses = noise_loss(supir, latent, None, ("",) * 4, (128, 128), config, noise(4))
    sigma = sigma_table()[seen["timestep"]][:, None, None, None]
    eps = (seen["x_in"] * (sigma**2 + 1).sqrt() - latent) / sigma
    errors = eps.square().mean(dim=(1, 2, 3))
    weighted = errors * timestep_weights(seen["timestep"], config, "epsilon")
    assert float(losses.pop("loss")) == pytest.approx(float(weighted.mean()), rel=2e-3)
    by_bin = {
        f"loss_t{first:03d}_{first + 199}": weighted[
            (seen["timestep"] >= first) & (seen["timestep"] < first + 200)
        ]
        for first in range(0, 1000, 200)
    }
    assert losses.keys() == {name for name, inside in by_bin.items() if len(inside)}
    for name, found in losses.items():
        assert found.tolist() == pytest.approx(by_bin[name].tolist(), rel=2e-3)
    means = eps.mean(dim=(2, 3)).std()
    assert float(means) == pytest.approx(math.sqrt(config.offset**2 + 1 / 64), rel=0.4)
