"""`stage: strength`: the strength map learns how much of a restoration is best taken, place by place.

Place in the flow: last, on a model that restores; the restorer mixes by it. The restoration is that of the robust
encoder and the decoder alone, at `encoder.working_scale`: sampling that starts from it with little noise ends near it.
The law it keeps: what is restored is frozen, and its loss is that of the picture that a user gets. Harm, more squared
error than the given picture has, is priced by itself, for a perceptual distance may be lower where more is wrong; with
`encoder.faithful_above_db` by as much as LPIPS fades, since what is lost can only be made up at its price.
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_model.estimator import denormalised
from supir_model.load import embedded_estimator
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.image_noise import ImageNoise
from supir_train.losses import ImageLoss, perceptual_share
from supir_train.phase import Losses, Phase, psnr_db
from supir_train.working_scale import ScaleChoice

FAINT_ERROR = 1e-5
"""Added to squared errors of [-1, 1], so that a picture that is right may have some: a deviation of 0.4 levels."""


def strength_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the strength map; logged are the share that it takes, the harm, and the PSNR of the mix."""
    choice = ScaleChoice(supir, config.encoder.working_scale)
    image_loss = ImageLoss(config.encoder, None)
    estimator = supir.estimator or embedded_estimator()

    def mix(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        assert batch.lq is not None, "stage strength loads degraded pairs"
        assert supir.strength_map is not None, "the run has made one"
        with torch.no_grad():
            restored = choice.restored(supir, batch.lq).clamp(-1, 1)
            estimate = estimator(batch.lq)
        # the restorer takes nothing of a picture that the estimate finds clean, whatever the map says
        doubt = torch.tensor([each.doubt for each in denormalised(estimate)], device=batch.lq.device)
        share = doubt[:, None, None, None] * supir.strength_map(batch.lq, restored, estimate).float()
        return batch.lq + share * (restored - batch.lq), share

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        assert batch.lq is not None, "stage strength loads degraded pairs"
        image, share = mix(batch)
        faithful = perceptual_share(batch.lq, batch.hq, config.encoder)
        total, terms = image_loss(image, batch.hq, noise, perceptual_share=faithful)
        blame = 1.0 if faithful is None else 1.0 - faithful
        terms["harm"] = (blame * harm(image, batch.lq, batch.hq)).mean()
        total = total + config.strength.harm_weight * terms["harm"]
        return {
            "loss": total,
            **terms,
            "share": share.detach().mean(dim=(1, 2, 3)),
            "psnr_db": psnr_db(image, batch.hq),
        }

    return Phase(
        name="strength",
        optimize=config.optimize,
        degraded=True,
        loss=loss,
        restore=lambda batch, _: mix(batch)[0],
    )


def harm(image: torch.Tensor, given: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """Returns (B,): by how many nats the squared error of `image` exceeds that of `given`; 0 where it does not.

    Args:
        image: (B, 3, H, W) in [-1, 1]; `given` and `photo` likewise.
    """
    errors = [(one - photo).square().mean(dim=(1, 2, 3)) + FAINT_ERROR for one in (image, given)]
    return (errors[0].log() - errors[1].log()).clamp(min=0)
