"""`supir-train --dry-run` and `--fit`: a run planned without its weights, and the setting that fits a memory.

Place in the flow: `cli` calls it before anything is loaded. The model stands on the meta device, so SDXL's size costs
seconds and no memory; the data are looked at as for a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from supir_console import UserError
from supir_model import Supir
from supir_model.memory import lay_out_channels_last
from supir_model.presets import PRESETS
from supir_model.shape import hollow_supir, preset_of
from supir_train.build import hold_frozen_in_bf16, make_phases
from supir_train.config import TrainConfig
from supir_train.cost import HeldBytes, held_bytes, plan
from supir_train.data import check_data
from supir_train.footprint import Moments, moments
from supir_train.held_out_batches import choose_held_out
from supir_train.micro_batch import share
from supir_train.phase import Phase
from supir_train.restoration import require_best_measure
from supir_train.world import BUCKET_NUMBERS, World

FREE_SHARE = 0.08
"""Share of a memory that `fit` leaves free: for the CUDA context, workspaces of convolutions and fragmentation."""
UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseMemory:
    """Bytes of one phase in one setting; `activations` are the most that a forward and backward pass adds."""

    held: HeldBytes
    activations: int
    peak: int


def rehearse(config: TrainConfig, world: World) -> dict[str, Any]:
    """Returns what the run will take: `cost.plan` with the bytes of each phase, as JSON-serialisable values.

    Args:
        config: the whole run; weights that `init` names need not be there where `preset` is sdxl.
        world: `size` processes; no other is asked.

    Raises:
        UserError, DatasetError: as `run.prepare`.
    """
    num_samples = check_data(config)
    supir = _hollow(config)
    phases = make_phases(supir, config)
    trained = {phase.name: supir.trainable(phase.name) for phase in phases}
    held_out = choose_held_out(config) if config.validation.crops else None
    require_best_measure(config.validation.best)
    figures = plan(supir, phases, trained, num_samples, held_out, config)
    for index, figure in enumerate(figures["phases"]):
        settings = {kept: _memory(_with(config, kept), index, world) for kept in (False, True)}
        chosen = settings[config.gradient_checkpointing]
        figure |= {
            "micro_batch": share(phases[index].optimize, world, config.data.crops_per_image),
            "parameters_bytes": chosen.held.parameters,
            "gradients_bytes": chosen.held.gradients,
            "average_bytes": chosen.held.average,
            "validation_copy_bytes": chosen.held.validation_copy if config.validation.crops else 0,
            "activations_bytes": settings[False].activations,
            "checkpointed_activations_bytes": settings[True].activations,
            "peak_bytes": chosen.peak,
        }
    return figures


def peak_bytes(config: TrainConfig, world: World) -> int:
    """Returns the most bytes that any phase of the run takes on one device."""
    return max(_memory(config, index, world).peak for index in range(_num_phases(config)))


def fit(config: TrainConfig, size: str, world: World) -> TrainConfig:
    """Returns the config with the largest micro-batch that fits, its checkpointing and precision.

    Checkpointing is on where it allows a larger micro-batch; bf16 takes the place of fp32 where nothing fits without.

    Args:
        size: of the device's memory, as in 24GB; `FREE_SHARE` of it is left free.

    Raises:
        UserError: the size is none, or not even the smallest setting fits.
    """
    room = int(_bytes(size) * (1 - FREE_SHARE))
    least = 0
    for precision in dict.fromkeys((config.optimize.precision, "bf16")):
        for images in _micro_batches(config, world):
            for checkpointing in (False, True):
                setting = _with(config, checkpointing, images, precision)
                least = peak_bytes(setting, world)
                if least <= room:
                    return setting
    raise UserError(
        f"--fit {size}: the smallest setting of this run takes {least / 1e9:.2g} GB, {room / 1e9:.2g} GB of it are "
        "free; give more memory, or a smaller data.crop_px or model"
    )


def _micro_batches(config: TrainConfig, world: World) -> Iterator[int]:
    """Yields the numbers of images that a forward pass of this run may have, largest first."""
    fits = [config.optimize, *([config.autoencoder] if config.autoencoder.steps else [])]
    crops = config.data.crops_per_image
    own = min(one.batch // world.size for one in fits)
    for images in range(own, 0, -1):
        if images % crops == 0 and all(one.batch % (world.size * images) == 0 for one in fits):
            yield images


def _with(
    config: TrainConfig,
    checkpointing: bool,
    images: int | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
) -> TrainConfig:
    changed: dict[str, Any] = {"gradient_checkpointing": checkpointing}
    if images and precision:
        update = {"micro_batch": images, "precision": precision}
        changed |= {"optimize": config.optimize.model_copy(update=update)}
        if config.autoencoder.steps:
            changed |= {"autoencoder": config.autoencoder.model_copy(update=update)}
    return config.model_copy(update=changed)


def _num_phases(config: TrainConfig) -> int:
    return 2 if config.stage == "prior" and config.autoencoder.steps else 1


def _memory(config: TrainConfig, index: int, world: World) -> PhaseMemory:
    supir = _hollow(config)
    if config.gradient_checkpointing:
        supir.unet.enable_gradient_checkpointing()
        supir.control.enable_gradient_checkpointing()
    phase: Phase = make_phases(supir, config)[index]
    trained = supir.trainable(phase.name)
    for network in (supir, *([phase.teacher] if phase.teacher else [])):
        hold_frozen_in_bf16(network, config, trained.values())
        lay_out_channels_last(network)
    held = held_bytes(supir, trained, config)
    images = share(phase.optimize, world, config.data.crops_per_image)
    micro_batches = phase.optimize.batch // world.size // images
    counted = moments(
        supir, phase, trained, config, images=images, micro_batches=micro_batches, is_gpu=is_gpu(config)
    )
    return PhaseMemory(
        held=held,
        activations=max(0, counted.step - held.gradients),
        peak=held.always + _highest(held, counted, world, has_validation=config.validation.crops > 0),
    )


def _highest(held: HeldBytes, counted: Moments, world: World, *, has_validation: bool) -> int:
    # gradients of several processes are summed in flat copies of at most a bucket
    exchange = min(4 * BUCKET_NUMBERS, held.gradients) if world.size > 1 else 0
    validation = held.validation_copy + counted.validation if has_validation else 0
    return max(counted.step, held.gradients + exchange, counted.lesson, validation)


def is_gpu(config: TrainConfig) -> bool:
    """Whether the run is planned for a GPU: as `device` says, and with auto where there is one or for SDXL."""
    if config.device == "auto":
        return torch.cuda.is_available() or config.preset == "sdxl"
    return config.device.startswith("cuda")


def _hollow(config: TrainConfig) -> Supir:
    if config.init == "mini":
        return hollow_supir(PRESETS["mini"])
    if config.init == "fresh":
        return hollow_supir(PRESETS[config.preset])
    if Path(config.init).exists():
        return hollow_supir(preset_of(Path(config.init)))
    if config.preset == "sdxl":
        return hollow_supir(PRESETS["sdxl"])
    raise UserError(
        f"init: {config.init!r} is not there; give mini, fresh, RUN/model, a diffusers SDXL folder or an SDXL file, or "
        "preset=sdxl to plan for weights of SDXL's size"
    )


def _bytes(size: str) -> int:
    number, unit = size.rstrip("GMiB"), size[len(size.rstrip("GMiB")) :]
    try:
        value = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        value = 0
    if value <= 0:
        raise UserError(f"--fit {size!r} is no size; write it as in 24GB, 80GiB or 500MB")
    return value
