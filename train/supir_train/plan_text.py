"""A run's plan in lines for people; `--json` gives the same figures to programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MEMORY_ROWS = {
    "parameters": "parameters_bytes",
    "gradients": "gradients_bytes",
    "optimizer": "optimizer_bytes",
    "weight average": "average_bytes",
    "copy of the weights while validating": "validation_copy_bytes",
    "activations without checkpointing": "activations_bytes",
    "activations with checkpointing": "checkpointed_activations_bytes",
    "peak without checkpointing": "kept_peak_bytes",
    "peak with checkpointing": "checkpointed_peak_bytes",
    "peak of this run": "peak_bytes",
}
"""What is printed of a phase's memory. Gradients are not there while the run validates: the peak is not their sum."""
LABEL_WIDTH = 1 + max(map(len, MEMORY_ROWS))


def plan_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the run will do, of the figures of `cost.plan`."""
    yield (
        f"stage {figures['stage']} in {figures['run']}: {figures['parameters'] / 1e6:.1f} M parameters, "
        f"{figures['dataset_samples']} samples"
    )
    for phase in figures["phases"]:
        yield (
            f"  {phase['phase']}: {phase['trained_parameters'] / 1e6:.1f} M trained, "
            f"{phase['steps']} steps, "
            f"{phase['images']} images ({phase['epochs']:g} epochs), "
            f"{phase['memory_bytes'] / 1e9:.2f} GB before activations, "
            f"{phase['optimizer_bytes'] / 1e9:.2f} GB of it AdamW's"
        )
        if 0 < phase["steps"] <= phase["warmup_steps"]:
            yield f"  warning: its learning rate is still warming up at the end, over {phase['warmup_steps']} steps"
    if validation := figures["validation"]:
        yield (
            f"  validated every {validation['every']} steps: {validation['crops']} crops of {validation['photos']} "
            f"held-out photos, {validation['pictures']} of them restored; {validation['unusable_samples']} held-out "
            "samples cannot be used"
        )


def memory_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yields the bytes that each phase will take on one device, of the figures of `rehearsal.rehearse`."""
    for phase in figures["phases"]:
        name, size = ("GB", 1e9) if phase["peak_bytes"] >= 1e9 else ("MB", 1e6)
        yield (
            f"  memory of {phase['phase']} on each device, {name}: forward passes of {phase['micro_batch']} images, "
            f"{phase['precision']}, checkpointing {'on' if phase['gradient_checkpointing'] else 'off'}"
        )
        for label, key in MEMORY_ROWS.items():
            yield f"    {label:<{LABEL_WIDTH}}{phase[key] / size:9.2f}"
