"""`stage: adapter`: control encoder and connectors learn to steer the frozen prior by the LQ latent.

Place in the flow: the last stage; needs a prior and a robust encoder. UNet, VAE, E_dr and text stay frozen.
Source: paper sections 3.2 and 4.1: AdamW, 1e-5, batch 256, 512 px crops, negative samples under the
negative-quality prompt so that guidance has something to point away from.
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_train.config import TrainConfig
from supir_train.data import Batch
from supir_train.noise_loss import noise_loss
from supir_train.phase import Losses, Phase


def adapter_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of control encoder and connectors by the noise loss, given the LQ latent."""

    def loss(batch: Batch, generator: torch.Generator) -> Losses:
        assert batch.lq is not None, "stage adapter loads degraded pairs"
        with torch.no_grad():
            latent = supir.encode(batch.hq, generator)
            z_lq = supir.encode_lq(batch.lq)
        return {
            "loss": noise_loss(supir, latent, z_lq, batch.prompts, config.data.size_condition_px, generator)
        }

    return Phase(
        name="adapter",
        optimize=config.optimize,
        degraded=True,
        loss=loss,
    )
