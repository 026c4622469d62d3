"""Where parts begin: what hangs on a prior is put back to its start; a fresh prior, estimator or strength map is made.

Place in the flow: `build.py` asks for what the config starts anew, `prior.py` for what its fits made worthless.
"""

from __future__ import annotations

import torch

from supir_console import UserError
from supir_model import Supir, load_supir
from supir_model.connectors import ConnectorKind, Connectors
from supir_model.control import ControlEncoder
from supir_model.estimator import DegradationEstimator
from supir_model.presets import PRESETS
from supir_model.robust_encoder import new_robust_encoder
from supir_model.strength_map import StrengthMap


def reset_robust_encoder(supir: Supir) -> None:
    """Makes the degradation-robust encoder compute what the VAE's encoder does (paper section 3.1)."""
    supir.robust_encoder.load_state_dict(new_robust_encoder(supir.vae).state_dict())


def require_same_latents(preset: str, latent_channels: int) -> None:
    """Refuses a preset whose prior is for latents of another number of channels than those of `init`.

    Raises:
        UserError: says both numbers.
    """
    taken = PRESETS[preset].unet["in_channels"]
    if taken != latent_channels:
        raise UserError(
            f"prior.start=fresh: the prior of preset={preset} takes latents of {taken} channels and "
            f"init has {latent_channels}; set preset to that of init"
        )


def with_fresh_prior(supir: Supir, preset: str, seed: int) -> Supir:
    """Returns the model with an untrained prior and adapter of a preset's shape on the latents that it has.

    Raises:
        UserError: the preset's prior is for latents of another number of channels.
    """
    require_same_latents(preset, supir.latent_channels)
    fresh = load_supir(preset=preset, weights=None, seed=seed)
    return Supir(
        unet=fresh.unet,
        control=fresh.control,
        connectors=fresh.connectors,
        vae=supir.vae,
        text=fresh.text,
        robust_encoder=supir.robust_encoder,
        estimator=supir.estimator,
        strength_map=supir.strength_map,
    )


def fresh_estimator(seed: int) -> DegradationEstimator:
    """An untrained degradation estimator, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DegradationEstimator()


def fresh_strength_map(seed: int) -> StrengthMap:
    """An untrained strength map, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StrengthMap()


def reshape_adapter(
    supir: Supir, control_depth: tuple[int, int, int] | None, connector: ConnectorKind | None
) -> None:
    """Gives the model a control encoder of another depth and connectors of another kind, to be reset.

    Args:
        control_depth: transformer blocks per level; None keeps the depth.
        connector: None keeps the kind.
    """
    depth = control_depth or supir.control.config["transformer_layers_per_block"]
    shape = dict(supir.connectors.config) | ({"kind": connector} if connector else {})
    supir.control = ControlEncoder.for_unet(supir.unet, depth)
    supir.connectors = Connectors.from_config(shape)
    supir.requires_grad_(False).eval()


def reset_adapter(supir: Supir, seed: int) -> None:
    """Makes the control encoder a copy of the UNet's encoder half and starts the connectors again.

    Args:
        seed: seed of the connectors' random weights.
    """
    supir.init_control_from_unet()
    for parameter in supir.control.hint.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Connectors.from_config(supir.connectors.config)
    supir.connectors.load_state_dict(fresh.state_dict())
