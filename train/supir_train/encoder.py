"""`stage: encoder`: the degradation-robust encoder E_dr, a VAE encoder that sees through degradation.

Place in the flow: after the prior, before the adapter, which reads its latent. The decoder D stays frozen, unless
`plain_weight` asks for it: a small one that has seen exact latents only leaves the edges of its blocks in guessed ones.
Source: paper section 3.1. Differs: the paper's loss |D(E_dr(lq)) - D(E_dr(hq))|² has E_dr on both sides, so an
encoder that maps everything to one latent is a perfect solution, and such training does go dark (facts: report
#135 of the authors' repository). Here the right side goes through the frozen encoder E, a fixed target; the
squared distances to the photo itself and of the latents stand beside it.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from supir_model import Supir
from supir_train.adversary import Adversary
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.image_noise import ImageNoise
from supir_train.loss_config import EncoderLossConfig
from supir_train.losses import LATENT_PX, ImageLoss, perceptual_share, pixel_distance
from supir_train.phase import Losses, Phase, psnr_db
from supir_train.restorer_teacher import RestorerTeacher
from supir_train.working_scale import ScaleChoice, enlarged, mean_of_parts, reduced


def encoder_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the robust encoder; what is logged besides the loss is the PSNR of D(E_dr(lq)) to hq."""
    weights = config.encoder
    adversary = Adversary(weights.adversary, config.seed) if weights.adversary.weight else None
    choice = ScaleChoice(supir, weights.working_scale)
    image_loss = ImageLoss(weights, adversary)
    teacher = RestorerTeacher(weights.teacher) if weights.teacher else None

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        assert batch.lq is not None, "stage encoder loads degraded pairs"
        losses = mean_of_parts(
            [
                (len(places), loss_at(batch.lq[places], batch.hq[places], noise.of(places), scale))
                for scale, places in choice.places(batch.lq).items()
            ]
        )
        if weights.plain_weight:
            losses["plain"] = _plain_distance(supir, batch, weights)
            losses["loss"] = losses["loss"] + weights.plain_weight * losses["plain"]
        return losses

    def loss_at(lq: torch.Tensor, hq: torch.Tensor, noise: ImageNoise, scale: int) -> Losses:
        latent = supir.encode_lq(enlarged(lq, scale))
        image = reduced(supir.decode(latent).float(), scale)
        target, figures, share = hq, Losses(), perceptual_share(lq, hq, weights)
        if teacher:
            target, is_followed = teacher.targets(image, lq, hq, share)
            figures["taught"] = is_followed.float()
        total, terms = image_loss(image, target, noise, LATENT_PX // scale, share)
        if weights.latent_weight or weights.decoded_weight:
            with torch.no_grad():
                target_latent = supir.encode(enlarged(hq, scale), None)
        if weights.latent_weight:
            terms["latent"] = functional.mse_loss(latent.float(), target_latent.float())
            total = total + weights.latent_weight * terms["latent"]
        if weights.decoded_weight:
            with torch.no_grad():
                target_image = reduced(supir.decode(target_latent).float(), scale)
            terms["decoded"] = pixel_distance(image, target_image, weights)
            total = total + weights.decoded_weight * terms["decoded"]
        return {"loss": total, **terms, **figures, "psnr_db": psnr_db(image, hq)}

    def restore(batch: Batch, _: ImageNoise) -> torch.Tensor:
        assert batch.lq is not None, "stage encoder loads degraded pairs"
        return choice.restored(supir, batch.lq)

    return Phase(
        name="codec" if weights.plain_weight else "encoder",
        optimize=config.optimize,
        degraded=True,
        loss=loss,
        adversary=adversary,
        restore=restore,
    )


def _plain_distance(supir: Supir, batch: Batch, weights: EncoderLossConfig) -> torch.Tensor:
    """The pixel distance of D(E(hq)) and hq, estimated on every second image of the phase to save time."""
    chosen = [place for place, number in enumerate(batch.numbers) if number % 2 == 0]
    if not chosen:
        return batch.hq.new_zeros(())
    hq = batch.hq[chosen]
    with torch.no_grad():
        latent = supir.encode(hq, None)
    return pixel_distance(supir.decode(latent), hq, weights) * (2 * len(chosen) / len(batch.numbers))
