"""What a config builds: the model with its starting weights, and the fits in their order.

Place in the flow: `run.py` trains what this gives, `export.py` puts a checkpoint's weights into it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from supir_console import UserError
from supir_model import Supir, load_supir
from supir_train.adapter import adapter_phase
from supir_train.compiled import require_compiler
from supir_train.config import TrainConfig
from supir_train.distill import distill_phase
from supir_train.encoder import encoder_phase
from supir_train.estimator import estimator_phase
from supir_train.optimizers import require_optimizer
from supir_train.phase import Phase
from supir_train.prior import autoencoder_phase, prior_phase
from supir_train.reset import (
    fresh_estimator,
    fresh_strength_map,
    reset_adapter,
    reshape_adapter,
    with_fresh_prior,
)
from supir_train.strength import strength_phase
from supir_train.world import World


def require_tools(config: TrainConfig, device: torch.device) -> None:
    """Refuses an optimizer or a compiler that the run asks for and that does not run on the device.

    Raises:
        UserError: says which, and why.
    """
    for fit in (config.optimize, *([config.autoencoder] if config.autoencoder.steps else [])):
        require_optimizer(fit, device)
    if config.compile_blocks:
        require_compiler(device)


def load_start(config: TrainConfig) -> Supir:
    """Returns the model that the run starts from, float32 on the CPU, with the new parts that the config asks for.

    Raises:
        UserError: `init` is not there, or its latents are none for a fresh prior of the preset.
        FileNotFoundError: the weights are not there.
        ModelFileError: the weights are damaged or incomplete.
    """
    supir = _load_init(config)
    if config.stage == "prior" and config.prior.start == "fresh":
        supir = with_fresh_prior(supir, config.preset, config.seed)
    if config.stage == "adapter" and config.adapter.start == "unet":
        if config.adapter.control_depth or config.adapter.connector:
            reshape_adapter(supir, config.adapter.control_depth, config.adapter.connector)
        reset_adapter(supir, config.seed)
    if config.stage == "estimator" and supir.estimator is None:
        supir.estimator = fresh_estimator(config.seed)
    if config.stage == "strength" and supir.strength_map is None:
        supir.strength_map = fresh_strength_map(config.seed)
    return supir


def _load_init(config: TrainConfig) -> Supir:
    if config.init == "mini":
        return load_supir(preset="mini")
    if config.init == "fresh":
        return load_supir(preset=config.preset, weights=None, seed=config.seed)
    if not Path(config.init).exists():
        raise UserError(
            f"init: {config.init!r} is not there; give mini, fresh, RUN/model, a diffusers SDXL folder or an SDXL file"
        )
    return load_supir(config.init, config.checkpoint, seed=config.seed)


def holds_bf16(config: TrainConfig) -> bool:
    """Returns whether the frozen networks are held in bfloat16 while the run trains."""
    return config.stage != "prior" and config.optimize.precision == "bf16"


def shares_weights(config: TrainConfig, world: World) -> bool:
    """Returns whether each process holds a share of what is trained, and not all of it."""
    return config.shard == "full" and world.size > 1


def hold_frozen_in_bf16(supir: Supir, config: TrainConfig, trained: Iterable[nn.Parameter]) -> None:
    """Rounds the parameters that the run does not train, where its precision and stage say so.

    The estimator stays whole: it is small, and its statistics are exact in float32 only.
    """
    if holds_bf16(config):
        judging = supir.estimator.parameters() if supir.estimator else ()
        kept = set(map(id, itertools.chain(trained, judging)))
        for parameter in supir.parameters():
            if id(parameter) not in kept:
                parameter.data = parameter.data.to(torch.bfloat16)


def make_phases(supir: Supir, config: TrainConfig) -> tuple[Phase, ...]:
    """Returns the fits of the run in their order."""
    match config.stage:
        case "prior" if config.autoencoder.steps:
            return autoencoder_phase(supir, config), prior_phase(supir, config)
        case "prior":
            return (prior_phase(supir, config),)
        case "encoder":
            return (encoder_phase(supir, config),)
        case "adapter":
            return (adapter_phase(supir, config),)
        case "distill":
            return (distill_phase(supir, config),)
        case "estimator":
            return (estimator_phase(supir, config),)
        case "strength":
            return (strength_phase(supir, config),)
