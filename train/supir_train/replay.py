"""`supir-train replay RUN`: makes the step of an incident again, from the state before it, and moves no weight.

Place in the flow: `incidents.py` keeps the state, the run's own `gradients` makes the step; nothing is written.
The law it keeps: on the same machine and thread count, and with one process as in the run, the figures are those of the
run bit for bit; figures that differ mean that not the numbers were wrong but the machine.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from supir_console import UserError
from supir_train.config import TrainConfig
from supir_train.config_history import CONFIG, begun_config
from supir_train.data import training_batches
from supir_train.export import place_weights
from supir_train.incidents import Incident, image_lines, load_incident
from supir_train.micro_batch import StepSplit
from supir_train.phase_state import start_phase
from supir_train.provenance import require_same_sources
from supir_train.run import prepare
from supir_train.step import Gradients, gradients
from supir_train.world import ALONE


def replay(run: Path, step: int | None = None) -> dict[str, Any]:
    """Returns the figures of the step, now and then, as JSON-serialisable values.

    `loss` and `grad_norm` are texts, which name what is no number; `repeated` says whether both are the run's own bits;
    `same_images` whether the images are; `suspects` are the keys of the micro-batches whose own loss is no number.

    Args:
        run: the run folder.
        step: of the incident; None for the newest.

    Raises:
        UserError: no such run or incident, or weights, recipe or data are not those of the run.
    """
    if not (run / CONFIG).exists():
        raise UserError(f"{run} is no run folder: it has no {CONFIG}; give the run of a supir-train CONFIG")
    config = begun_config(run)
    incident, state_before = load_incident(run, step)
    prepared = prepare(_split_as_then(config, incident))
    require_same_sources(state_before.progress.sources, prepared.sources, config)
    place_weights(prepared.supir, prepared.trained, state_before)
    phase = next(phase for phase in prepared.phases if phase.name == incident.phase)
    state = start_phase(phase, prepared.supir.trainable(phase.name), state_before, ALONE)
    split = StepSplit.of(phase.optimize, config.data, ALONE)
    split.forward = incident.images_a_forward
    batches = training_batches(
        prepared.config,
        images=split.images,
        degraded=phase.degraded,
        start=state.position,
    )
    made = gradients(
        phase, state, batches, split, seed=config.seed, device=prepared.supir.device, world=ALONE
    )
    return _compared(incident, made)


def _split_as_then(config: TrainConfig, incident: Incident) -> TrainConfig:
    """The config with the micro-batches that the step was made in, which may have changed since."""
    name = "autoencoder" if incident.phase == "autoencoder" else "optimize"
    fit = getattr(config, name).model_copy(
        update={"micro_batch": incident.images_a_batch or incident.images_a_forward}
    )
    return config.model_copy(update={name: fit})


def _compared(incident: Incident, made: Gradients) -> dict[str, Any]:
    loss, grad_norm = repr(made.loss), repr(float(made.grad_norm))
    images = [line for batch in made.used for line in image_lines(batch)]
    suspects = [
        key
        for batch, value in zip(made.used, made.losses, strict=True)
        for key in batch.keys
        if not math.isfinite(float(value))
    ]
    return {
        "step": incident.step,
        "phase": incident.phase,
        "loss": loss,
        "loss_then": incident.loss,
        "grad_norm": grad_norm,
        "grad_norm_then": incident.grad_norm,
        "repeated": (loss, grad_norm) == (incident.loss, incident.grad_norm),
        "same_images": _listed(images) == incident.images,
        "suspects": suspects,
    }


def _listed(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The images as JSON gives them back."""
    return [{**line, "crop": list(line["crop"])} for line in images]
