"""`stage: adapter`: control encoder and connectors learn to steer the frozen prior by the LQ latent.

Place in the flow: the last stage; needs a prior and a robust encoder. UNet, VAE, E_dr and text stay frozen.
New connectors are first fitted to the decoder's own features, so that step 0 stands near the prior.
Source: paper sections 3.2 and 4.1: AdamW, 1e-5, batch 256, 512 px crops, negative samples under the
negative-quality prompt so that guidance has something to point away from.
"""

from __future__ import annotations

import itertools

import torch

from supir_model import Supir
from supir_model.calibrate import Noised, calibrate_connectors
from supir_model.connectors import ZeroSFT
from supir_model.diffusion import NUM_TIMESTEPS, karras_sigmas, noised_input
from supir_model.guidance import LinearScale, guided
from supir_model.prompts import NEGATIVE_PROMPT, POSITIVE_SUFFIX, positive_prompt
from supir_model.sampler import Denoise, generator_noise, sample_dpmpp_2m_sde, start_latent
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.data import training_batches
from supir_train.image_noise import ImageNoise, keyed_generator
from supir_train.noise_loss import noise_loss
from supir_train.order import Position
from supir_train.phase import Losses, Phase, autocast

CALIBRATION_PHOTOS = 16
"""Photos to whose training crops, at evenly spread timesteps, new connectors are fitted before the first step."""


def adapter_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of control encoder and connectors by the noise loss, given the LQ latent."""

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        assert batch.lq is not None, "stage adapter loads degraded pairs"
        with torch.no_grad():
            latent = supir.encode(batch.hq, noise.generators)
            z_lq = supir.encode_lq(batch.lq)
        size_px = config.data.size_condition_px
        return noise_loss(supir, latent, z_lq, batch.prompts, size_px, config.noise, noise)

    def begin() -> None:
        layers = [layer for layer in supir.connectors.layers if isinstance(layer, ZeroSFT)]
        if layers and not any(layer.gamma.weight.any() for layer in layers):
            _calibrate(supir, config)

    return Phase(
        name="adapter",
        optimize=config.optimize,
        degraded=True,
        loss=loss,
        restore=lambda batch, noise: _restored(supir, config, batch, noise),
        begin=begin,
    )


@torch.no_grad()
def _restored(supir: Supir, config: TrainConfig, batch: Batch, noise: ImageNoise) -> torch.Tensor:
    """The batch as the restorer's few-step sampler makes it.

    Nothing pulls it towards the LQ latent and no colours are put back, so that the figures are the adapter's own.
    """
    assert batch.lq is not None, "stage adapter loads degraded pairs"
    z_lq = supir.encode_lq(batch.lq)
    denoise = restoring(supir, config, batch, z_lq, guidance_scale=config.validation.guidance_scale)
    sigmas = karras_sigmas(config.validation.steps)
    start = start_latent(noise.normal(z_lq), sigmas)
    return supir.decode(sample_dpmpp_2m_sde(denoise, start, sigmas, noise=generator_noise(noise.generators)))


def restoring(
    supir: Supir, config: TrainConfig, batch: Batch, z_lq: torch.Tensor, *, guidance_scale: float
) -> Denoise:
    """Returns the guided network that restores the batch, under its captions with the quality words."""
    positive = [
        prompt if prompt.endswith(POSITIVE_SUFFIX) else positive_prompt(prompt) for prompt in batch.prompts
    ]
    return guided(
        supir,
        z_lq,
        supir.encode_prompt(positive),
        supir.encode_prompt([NEGATIVE_PROMPT] * len(positive)),
        _told_sizes(supir, config, len(positive)),
        guidance_scale=LinearScale(guidance_scale, guidance_scale),
        control_scale=LinearScale(1.0, 1.0),
    )


@torch.no_grad()
def _calibrate(supir: Supir, config: TrainConfig) -> None:
    images = config.data.crops_per_image
    batches = training_batches(config, images=images, degraded=False, start=Position())
    usable = (batch.to(supir.device) for batch in batches if batch.keys)
    chosen = list(itertools.islice(usable, CALIBRATION_PHOTOS))
    counts = [len(batch.keys) for batch in chosen]
    timesteps = torch.linspace(0, NUM_TIMESTEPS - 1, sum(counts), device=supir.device).long().split(counts)
    generator = keyed_generator(config.seed, "calibration")
    with autocast(config.optimize, supir.device):
        # a photo a pass: it takes no more memory than the smallest step
        calibrate_connectors(
            supir, (_noised(supir, config, *of, generator) for of in zip(chosen, timesteps, strict=True))
        )


def _noised(
    supir: Supir, config: TrainConfig, batch: Batch, timestep: torch.Tensor, generator: torch.Generator
) -> Noised:
    latent = supir.encode(batch.hq)
    noise = torch.randn(latent.shape, generator=generator).to(supir.device)
    return Noised(
        x_in=noised_input(latent, noise, timestep),
        timestep=timestep,
        conditioning=supir.encode_prompt(batch.prompts),
        time_ids=_told_sizes(supir, config, len(latent)),
    )


def _told_sizes(supir: Supir, config: TrainConfig, batch: int) -> torch.Tensor:
    """Size vectors (batch, 6): of the crops' side, or of the nearest that the networks are told in training."""
    lowest, highest = config.data.size_condition_px
    side = min(max(config.data.crop_px, lowest), highest)
    return supir.time_ids(side, side, batch)
