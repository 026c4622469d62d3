"""`supir-train --dry-run`: a run planned without its weights.

Place in the flow: `cli` calls it before anything is loaded. The model stands on the meta device, so SDXL's size costs
seconds and no memory; the data are looked at as for a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from supir_console import UserError
from supir_model import Supir
from supir_model.memory import checkpoint_activations, lay_out_channels_last
from supir_model.presets import PRESETS, Preset
from supir_model.shape import hollow_supir, preset_of
from supir_train.build import hold_frozen_in_bf16, make_phases, shares_weights
from supir_train.config import TrainConfig
from supir_train.cost import FP32_BYTES, HeldBytes, held_bytes, in_flight, plan
from supir_train.data import check_data
from supir_train.footprint import step_moments, validation_bytes
from supir_train.held_out_batches import choose_held_out
from supir_train.live_bytes import Results
from supir_train.micro_batch import share
from supir_train.optimize_config import AutoencoderConfig, OptimizeConfig
from supir_train.phase import Phase
from supir_train.provenance import data_hashes
from supir_train.reset import require_same_latents
from supir_train.restoration import require_best_measure
from supir_train.world import BUCKET_NUMBERS, World

SAMPLER_STEPS = 1
"""Of the restorations of a validation: more take no more memory."""
TEACHER_STEPS = 1
"""In an interval of stage distill: more take no more memory."""
LARGE_STEPS = 1
"""Of stage distill and its restorations, likewise."""
LPIPS_BYTES = 9_883_416
"""Weights of the AlexNet that judges restored pictures, always on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseMemory:
    """Bytes of one phase in one setting; `activations` are the most that a forward and backward pass adds."""

    held: HeldBytes
    activations: int
    peak: int


class Rehearsal:
    """The network of a run without its numbers, in which settings of the run are counted.

    Args:
        config: the run; settings differ from it in micro-batch and checkpointing alone.
        world: `size` processes; no other is asked.

    Raises:
        UserError: `init` is not there, and no preset stands for it.
    """

    def __init__(self, config: TrainConfig, world: World) -> None:
        self.supir = _hollow(config)
        self.phases = make_phases(self.supir, config)
        self._world = world
        self._results: Results = {}
        self._validations: dict[tuple[int, int], int] = {}
        self._reusable: dict[tuple[int, OptimizeConfig, AutoencoderConfig], Phase] = {}
        trained = [value for phase in self.phases for value in self.supir.trainable(phase.name).values()]
        hold_frozen_in_bf16(self.supir, config, trained)
        lay_out_channels_last(self.supir)

    def _phase(self, setting: TrainConfig, index: int) -> Phase:
        """A phase of the setting, anew where it has a discriminator, which remembers what it has judged."""
        key = (index, setting.optimize, setting.autoencoder)
        if key in self._reusable:
            return self._reusable[key]
        phase = make_phases(self.supir, _shortened(setting))[index]
        if phase.teacher:
            hold_frozen_in_bf16(phase.teacher, setting, ())
            lay_out_channels_last(phase.teacher)
        if not phase.adversary:
            self._reusable[key] = phase
        return phase

    def memory(self, setting: TrainConfig, index: int) -> PhaseMemory:
        """Returns the bytes of phase number `index` of the run in a setting."""
        checkpoint_activations(self.supir, enabled=setting.gradient_checkpointing)
        phase = self._phase(setting, index)
        trained = self.supir.trainable(phase.name)
        held = held_bytes(self.supir, phase, trained, setting, self._world)
        images = share(phase.optimize, self._world, setting.data.crops_per_image)
        micro_batches = phase.optimize.batch // self._world.size // images
        is_sharded = shares_weights(setting, self._world)
        counted = step_moments(
            self.supir,
            phase,
            trained,
            setting,
            images=images,
            # shares of the gradients are there from the first unit's on
            micro_batches=max(2, micro_batches) if is_sharded else micro_batches,
            is_gpu=is_gpu(setting),
            results=self._results,
        )
        whole = FP32_BYTES * sum(value.numel() for value in trained.values())
        activations = max(0, counted.step - whole)
        step = held.gradients + activations + in_flight(self.supir) if is_sharded else counted.step
        validation = 0
        if setting.validation.crops:
            gathered = whole if is_sharded else 0
            validation = held.validation_copy + gathered + self._validation(setting, index, images)
        # gradients of several processes are summed in flat copies of at most a bucket
        exchange = min(4 * BUCKET_NUMBERS, held.gradients) if self._world.size > 1 and not is_sharded else 0
        highest = max(step, held.gradients + exchange, counted.lesson, validation)
        judge = LPIPS_BYTES if _judges_here(phase, setting) else 0
        return PhaseMemory(held=held, activations=activations, peak=held.always + judge + highest)

    def peak(self, setting: TrainConfig) -> int:
        """Returns the most bytes that any phase takes on one device in a setting."""
        return max(self.memory(setting, index).peak for index in range(len(self.phases)))

    def _validation(self, setting: TrainConfig, index: int, images: int) -> int:
        if (index, images) not in self._validations:
            phase = self._phase(setting, index)
            self._validations[index, images] = validation_bytes(
                self.supir, phase, setting, images=images, is_gpu=is_gpu(setting), results=self._results
            )
        return self._validations[index, images]


def _shortened(setting: TrainConfig) -> TrainConfig:
    """The setting without the network calls that only repeat others and keep a latent or prompt of them at most."""
    distill = setting.distill
    few = LARGE_STEPS * distill.intervals * TEACHER_STEPS
    return setting.model_copy(
        update={
            "validation": setting.validation.model_copy(update={"steps": SAMPLER_STEPS}),
            "distill": distill.model_copy(
                update={
                    "steps": LARGE_STEPS,
                    "teacher_steps": few,
                    "guidance_scale": 1.0,
                    "guidance_scale_start": None,
                }
            ),
        }
    )


def _judges_here(phase: Phase, setting: TrainConfig) -> bool:
    """Whether restored pictures are judged on the device that is planned."""
    validation = setting.validation
    return bool(phase.restore and validation.crops and validation.pictures) and not is_gpu(setting)


def rehearse(config: TrainConfig, world: World) -> dict[str, Any]:
    """Returns what the run will take: `cost.plan` with the bytes of each phase, as JSON-serialisable values.

    Args:
        config: the whole run; weights that `init` names need not be there where `preset` is sdxl.
        world: `size` processes; no other is asked.

    Raises:
        UserError, DatasetError: as `run.prepare`.
    """
    num_samples = check_data(config)
    data_hashes(config)  # a run would refuse files that are cut short or missing
    rehearsal = Rehearsal(config, world)
    supir, phases = rehearsal.supir, rehearsal.phases
    held_out = choose_held_out(config) if config.validation.crops else None
    require_best_measure(config.validation.best)
    trained = {phase.name: supir.trainable(phase.name) for phase in phases}
    figures = plan(supir, phases, trained, num_samples, held_out, config, world)
    for index, figure in enumerate(figures["phases"]):
        kept, again = (
            rehearsal.memory(config.model_copy(update={"gradient_checkpointing": enabled}), index)
            for enabled in (False, True)
        )
        chosen = again if config.gradient_checkpointing else kept
        figure |= {
            "micro_batch": share(phases[index].optimize, world, config.data.crops_per_image),
            "precision": phases[index].optimize.precision,
            "gradient_checkpointing": config.gradient_checkpointing,
            "parameters_bytes": chosen.held.parameters,
            "gradients_bytes": chosen.held.gradients,
            "average_bytes": chosen.held.average,
            "validation_copy_bytes": chosen.held.validation_copy if config.validation.crops else 0,
            "activations_bytes": kept.activations,
            "checkpointed_activations_bytes": again.activations,
            "kept_peak_bytes": kept.peak,
            "checkpointed_peak_bytes": again.peak,
            "peak_bytes": chosen.peak,
        }
    return figures


def peak_bytes(config: TrainConfig, world: World) -> int:
    """Returns the most bytes that any phase of the run takes on one device."""
    return Rehearsal(config, world).peak(config)


def is_gpu(config: TrainConfig) -> bool:
    """Whether the run is planned for a GPU: as `device` says, and with auto where there is one or for SDXL."""
    if config.device == "auto":
        return torch.cuda.is_available() or config.preset == "sdxl"
    return config.device.startswith("cuda")


def _hollow(config: TrainConfig) -> Supir:
    preset, shape = _preset(config), config.adapter
    if config.stage == "prior" and config.prior.start == "fresh":
        require_same_latents(config.preset, preset.vae["latent_channels"])
        preset = replace(PRESETS[config.preset], vae_class=preset.vae_class, vae=preset.vae)
    if config.stage == "adapter" and shape.start == "unet":
        kind = {"kind": shape.connector} if shape.connector else {}
        depth = shape.control_depth or preset.control_depth
        preset = replace(preset, control_depth=depth, connectors={**preset.connectors, **kind})
    return hollow_supir(preset)


def _preset(config: TrainConfig) -> Preset:
    if config.init == "mini":
        return PRESETS["mini"]
    if config.init == "fresh":
        return PRESETS[config.preset]
    if Path(config.init).exists():
        return preset_of(Path(config.init))
    if config.preset == "sdxl":
        return PRESETS["sdxl"]
    raise UserError(
        f"init: {config.init!r} is not there; give mini, fresh, RUN/model, a diffusers SDXL folder or an SDXL file, or "
        "preset=sdxl to plan for weights of SDXL's size"
    )
