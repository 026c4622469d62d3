"""Priors that predict velocity or clean latent: turned to noise where they are called, told by files, kept on disk."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDIMScheduler

from supir_model import load_supir
from supir_model.diffusion import (
    eps_of_sample,
    eps_of_velocity,
    noised_input,
    scale_input,
    sigma_at,
    sigma_table,
)
from supir_model.errors import ModelFileError
from supir_model.presets import PREDICTION_TYPE


def drawn(seed):
    return torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def velocity():
    supir = load_supir(preset="tiny", seed=5)
    supir.unet.register_to_config(**{PREDICTION_TYPE: "v_prediction"})
    return supir


def test_the_noise_of_a_velocity_is_the_noise_and_diffusers_agrees():
    latent, noise, timestep = drawn(0), drawn(1), torch.tensor([0, 300, 700, 999])
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    given = noised_input(latent, noise, timestep), sigma_at(timestep, 4)
    torch.testing.assert_close(
        eps_of_velocity(scheduler.get_velocity(latent, noise, timestep), *given), noise, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("control", [0.0, 1.0])
def test_a_velocity_is_turned_into_noise_and_into_the_clean_latent(velocity, control):
    plain = load_supir(preset="tiny", seed=5)
    x, z_lq, sigma = 3 * drawn(0)[:1], drawn(1)[:1], sigma_table()[500]
    given = z_lq, plain.encode_prompt(["a cat"]), plain.time_ids(64, 64, 1), control
    output = plain.predict_eps(scale_input(x, sigma), torch.tensor([500]), *given)
    eps = velocity.predict_eps(scale_input(x, sigma), torch.tensor([500]), *given)
    torch.testing.assert_close(eps, (output + sigma * scale_input(x, sigma)) / (sigma**2 + 1).sqrt())
    # by the definition of v: latent = alpha x_in - sigma alpha v
    clean = scale_input(x, sigma) / (sigma**2 + 1).sqrt() - sigma / (sigma**2 + 1).sqrt() * output
    torch.testing.assert_close(velocity.denoise(x, float(sigma), *given), clean, atol=1e-4, rtol=1e-4)


def test_a_clean_latent_is_turned_into_noise_and_back():
    latent, noise, timestep = drawn(0), drawn(1), torch.tensor([0, 300, 700, 999])
    given = noised_input(latent, noise, timestep), sigma_at(timestep, 4)
    torch.testing.assert_close(eps_of_sample(latent, *given), noise, atol=1e-3, rtol=1e-3)
    plain, sample = (load_supir(preset="tiny", seed=5) for _ in range(2))
    sample.unet.register_to_config(**{PREDICTION_TYPE: "sample"})
    x, z_lq, sigma = 3 * drawn(0)[:1], drawn(1)[:1], sigma_table()[500]
    asked = z_lq, plain.encode_prompt(["a cat"]), plain.time_ids(64, 64, 1)
    output = plain.predict_eps(scale_input(x, sigma), torch.tensor([500]), *asked)
    torch.testing.assert_close(sample.denoise(x, float(sigma), *asked), output, atol=1e-4, rtol=1e-4)


def test_two_prompts_share_a_latent(velocity):
    x_in, timestep = drawn(0)[:1], torch.tensor([800])
    prompts = velocity.encode_prompt(["a cat", "a dog"])
    both = velocity.eps(x_in, timestep, velocity.prepare(drawn(1)[:1], prompts, velocity.time_ids(64, 64, 2)))
    for row, words in enumerate(("a cat", "a dog")):
        alone = velocity.prepare(drawn(1)[:1], velocity.encode_prompt([words]), velocity.time_ids(64, 64, 1))
        torch.testing.assert_close(both[row : row + 1], velocity.eps(x_in, timestep, alone))


def test_a_saved_model_keeps_what_its_prior_predicts_without_a_word(velocity, tmp_path, caplog):
    velocity.save_pretrained(tmp_path)
    assert load_supir(tmp_path).prediction_type == "v_prediction"
    assert caplog.text == ""
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    del config[PREDICTION_TYPE]
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    assert load_supir(tmp_path).prediction_type == "epsilon"


def test_the_scheduler_of_an_sdxl_folder_says_what_its_prior_predicts(velocity, tmp_path):
    velocity.unet.register_to_config(**{PREDICTION_TYPE: "epsilon"})
    velocity.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()  # what is left is a folder of diffusers
    told = tmp_path / "scheduler" / "scheduler_config.json"
    told.parent.mkdir()
    for kind in ("epsilon", "v_prediction", "sample"):
        told.write_text(json.dumps({PREDICTION_TYPE: kind}))
        assert load_supir(tmp_path, preset="tiny").prediction_type == kind
    told.write_text(json.dumps({PREDICTION_TYPE: "flow_prediction"}))
    with pytest.raises(
        ModelFileError, match=r"prediction_type 'flow_prediction'; SUPIR needs one of epsilon or v_pre"
    ):
        load_supir(tmp_path, preset="tiny")
