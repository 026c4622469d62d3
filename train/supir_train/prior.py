"""`stage: prior`: a small backbone from nothing. First the autoencoder, then UNet and text encoders on its latents.

Place in the flow: gives the frozen prior that `stage: encoder` and `stage: adapter` build on; SDXL skips it.
The law it keeps: what a new part makes worthless is renewed. After an autoencoder fit the robust encoder becomes a
copy of the VAE's; after a new UNet (fresh, or on new latents) the control encoder becomes a copy of it and the
connectors start again at zero. A prior that only goes on keeps the adapter it has.

The autoencoder is fitted without a perceptual network and without a discriminator: L1 at several scales, L1 of
the image differences (which prices blur more than L1 alone) and a tiny KL term (Rombach et al. 2022, appendix G).
"""

from __future__ import annotations

import itertools

import torch
from torch.nn import functional

from supir_model import Supir
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.data import training_batches
from supir_train.image_noise import ImageNoise
from supir_train.noise_loss import noise_loss
from supir_train.order import Position
from supir_train.phase import Losses, Phase, psnr_db
from supir_train.renew import renew_adapter, renew_robust_encoder

SCALING_IMAGES = 256
"""Photos over whose training crops the latent's standard deviation is measured."""


def autoencoder_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the VAE; it ends by writing the scaling factor that gives latents unit variance."""
    fit = config.autoencoder

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        posterior = supir.vae.encode(batch.hq).latent_dist
        image = supir.vae.decode(posterior.mean + posterior.std * noise.normal(posterior.mean)).sample.float()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        terms = reconstruction(image, batch.hq, scales=fit.scales, gradient_weight=fit.gradient_weight)
        return {"loss": terms + fit.kl_weight * kl, "kl": kl, "psnr_db": psnr_db(image, batch.hq)}

    def finish() -> None:
        deviation = _latent_deviation(supir, config)
        supir.vae.register_to_config(scaling_factor=1.0 / deviation)

    return Phase(
        name="autoencoder",
        optimize=fit,
        degraded=False,
        loss=loss,
        finish=finish,
    )


def prior_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the joint fit of UNet and text encoders by the noise loss on clean latents."""

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        with torch.no_grad():
            latent = supir.encode(batch.hq, noise.generators)
        return {"loss": noise_loss(supir, latent, None, batch.prompts, config.data.size_condition_px, noise)}

    def finish() -> None:
        # Here and not after the autoencoder: a run that goes on within this phase would not come by there again.
        if config.autoencoder.steps:
            renew_robust_encoder(supir)
        if config.init == "fresh" or config.autoencoder.steps:
            renew_adapter(supir, config.seed)

    return Phase(
        name="prior",
        optimize=config.optimize,
        degraded=False,
        loss=loss,
        finish=finish,
    )


def reconstruction(
    image: torch.Tensor, reference: torch.Tensor, *, scales: int, gradient_weight: float
) -> torch.Tensor:
    """Returns the mean over scales of L1 plus weighted L1 of the differences to the right and lower neighbour.

    Args:
        image: (B, 3, H, W) in [-1, 1]; `reference` likewise.
        scales: number of scales; each next one is averaged down by two.
    """
    total = image.new_zeros(())
    for _ in range(scales):
        across = functional.l1_loss(image.diff(dim=-1), reference.diff(dim=-1))
        down = functional.l1_loss(image.diff(dim=-2), reference.diff(dim=-2))
        total = total + functional.l1_loss(image, reference) + gradient_weight * (across + down) / 2
        image, reference = functional.avg_pool2d(image, 2), functional.avg_pool2d(reference, 2)
    return total / scales


@torch.no_grad()
def _latent_deviation(supir: Supir, config: TrainConfig) -> float:
    images = config.data.crops_per_image
    batches = training_batches(config, images=images, degraded=False, start=Position())
    device = next(supir.vae.parameters()).device
    latents = [
        supir.vae.encode(batch.hq.to(device)).latent_dist.mode().float()
        for batch in itertools.islice(batches, SCALING_IMAGES)
        if batch.keys
    ]
    return float(torch.cat(latents).std())
