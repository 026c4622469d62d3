"""Which parts of the network a training stage changes.

Place in the flow: `Supir.trainable` is the door to it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

Stage = Literal["adapter", "encoder", "codec", "prior", "autoencoder", "distill", "estimator", "strength"]
PARTS: dict[Stage, tuple[str, ...]] = {
    "adapter": ("control", "connectors"),
    "encoder": ("robust_encoder",),
    "codec": ("robust_encoder", "vae.decoder"),
    "prior": ("unet", "text"),
    "autoencoder": ("vae",),
    "estimator": ("estimator",),
    "strength": ("strength_map",),
    "distill": ("control", "connectors"),
}


def made_trainable(network: nn.Module, stage: Stage) -> dict[str, nn.Parameter]:
    """Returns the parameters of the stage's parts by name, which from now on are the network's only trainable ones.

    Raises:
        ValueError: unknown stage.
    """
    if stage not in PARTS:
        raise ValueError(f"stage={stage!r} is unknown; use one of {', '.join(PARTS)}")
    network.requires_grad_(False)
    for part in PARTS[stage]:
        network.get_submodule(part).requires_grad_(True)
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
