"""`stage: prior`: a small backbone from nothing. First the autoencoder, then UNet and text encoders on its latents.

Place in the flow: gives the frozen prior that `stage: encoder` and `stage: adapter` build on; SDXL skips it.
The law it keeps: what a new part makes worthless is reset. After an autoencoder fit the robust encoder becomes a
copy of the VAE's; after a new UNet (fresh, or on new latents) the control encoder becomes a copy of it and the
connectors start again at zero. A prior that only goes on keeps the adapter it has.

The autoencoder is fitted by `ImageLoss`, by default L1 and L1 of the image differences at several scales, and a tiny KL
term (Rombach et al. 2022, appendix G); a perceptual network and a discriminator join where their weights say so.
"""

from __future__ import annotations

import itertools

import torch

from supir_model import Supir
from supir_model.mini_vae import MiniVAE
from supir_train.adversary import Adversary
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.data import training_batches
from supir_train.image_noise import ImageNoise
from supir_train.losses import ImageLoss
from supir_train.noise_loss import noise_loss
from supir_train.order import Position
from supir_train.phase import Losses, Phase, psnr_db
from supir_train.reset import reset_adapter, reset_robust_encoder

SCALING_IMAGES = 256
"""Photos over whose training crops the latent's statistics are measured."""


def autoencoder_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the VAE; it ends by giving latents unit variance, `MiniVAE`'s each channel of its own."""
    fit = config.autoencoder
    adversary = Adversary(fit.adversary, config.seed) if fit.adversary.weight else None
    image_loss = ImageLoss(fit, adversary)

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        posterior = supir.vae.encode(batch.hq).latent_dist
        image = supir.vae.decode(posterior.mean + posterior.std * noise.normal(posterior.mean)).sample.float()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        total, terms = image_loss(image, batch.hq, noise)
        return {"loss": total + fit.kl_weight * kl, "kl": kl, **terms, "psnr_db": psnr_db(image, batch.hq)}

    def restore(batch: Batch, _: ImageNoise) -> torch.Tensor:
        return supir.vae.decode(supir.vae.encode(batch.hq).latent_dist.mode()).sample.float()

    def finish() -> None:
        latents = _latents(supir, config)
        if isinstance(supir.vae, MiniVAE):
            supir.vae.standardize(latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
        else:
            supir.vae.register_to_config(scaling_factor=1.0 / float(latents.std()))

    return Phase(
        name="autoencoder",
        optimize=fit,
        degraded=False,
        loss=loss,
        adversary=adversary,
        restore=restore,
        finish=finish,
    )


def prior_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the joint fit of UNet and text encoders by the noise loss on clean latents."""

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        with torch.no_grad():
            latent = supir.encode(batch.hq, noise.generators)
        size_px = config.data.size_condition_px
        return noise_loss(supir, latent, None, batch.prompts, size_px, config.noise, noise)

    def finish() -> None:
        # Here and not after the autoencoder: a run that goes on within this phase would not come by there again.
        if config.autoencoder.steps:
            reset_robust_encoder(supir)
        if "fresh" in (config.init, config.prior.start) or config.autoencoder.steps:
            reset_adapter(supir, config.seed)

    return Phase(
        name="prior",
        optimize=config.optimize,
        degraded=False,
        loss=loss,
        finish=finish,
    )


@torch.no_grad()
def _latents(supir: Supir, config: TrainConfig) -> torch.Tensor:
    images = config.data.crops_per_image
    batches = training_batches(config, images=images, degraded=False, start=Position())
    device = next(supir.vae.parameters()).device
    latents = [
        supir.vae.encode(batch.to(device).hq).latent_dist.mode().float()
        for batch in itertools.islice(batches, SCALING_IMAGES)
        if batch.keys
    ]
    return torch.cat(latents)
