"""What is done to a model between loading and restoring: LoRAs, storage in 8 bits, offloading, compiled blocks.

Place in the flow: `cli` reads the options; `model_source` counts `Changes` into the model's identity, since they
decide pixels, and prepares the loaded network with both. `Execution` changes rounding only.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supir_console import UserError

if TYPE_CHECKING:
    import torch

    from supir_model import Supir

MOST_WEIGHT = 10.0
IN_MEMORY = "ram"


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA's file, or PEFT folder, and its strength; a negative one takes it away."""

    path: Path
    weight: float = 1.0

    def described(self) -> str:
        """Returns its name and strength."""
        return f"{self.path.stem}:{self.weight:g}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What makes another model of a model: LoRAs in their order, and weights in 8 bits."""

    loras: tuple[Lora, ...] = ()
    float8: bool = False

    def described(self, name: str) -> str:
        """Returns the name of the changed model."""
        parts = [name, *(lora.described() for lora in self.loras), *(["float8"] if self.float8 else [])]
        return "+".join(parts)

    def sha256(self, model: str) -> str:
        """Returns the hash of the changed model; without changes it is `model`, the hash of the plain one."""
        if self == UNCHANGED:
            return model
        return hashlib.sha256("\n".join([model, *self._hashed()]).encode()).hexdigest()

    def _hashed(self) -> Iterator[str]:
        from supir_model.lora import lora_file

        for lora in self.loras:
            with lora_file(lora.path).open("rb") as stream:
                yield f"lora\t{hashlib.file_digest(stream, 'sha256').hexdigest()}\t{lora.weight!r}"
        if self.float8:
            yield "float8"


UNCHANGED = Changes()


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model runs: weights kept in main memory ("ram") or in files below a folder, and compiled blocks."""

    offload: str | None = None
    compiled: bool = False

    @property
    def loads_on(self) -> str | None:
        """Where the weights are loaded first; None for the device."""
        return "cpu" if self.offload else None


ON_DEVICE = Execution()


def read_loras(values: Sequence[str]) -> tuple[Lora, ...]:
    """Returns the LoRAs of `--lora FILE[:WEIGHT]` options.

    Raises:
        UserError: no such file, or a weight that is no number within ±10.
    """
    return tuple(map(_lora, values))


def _lora(value: str) -> Lora:
    from supir_model.lora import lora_file

    name, colon, weight = value.rpartition(":")
    whole = not colon or Path(value).exists() or "/" in weight or "\\" in weight
    path, number = (Path(value), "1") if whole else (Path(name), weight)
    try:
        strength = float(number)
    except ValueError:
        strength = float("nan")
    if not abs(strength) <= MOST_WEIGHT:
        raise UserError(f"--lora {value}: the weight {number!r} is no number from -10 to 10; write FILE:0.8")
    lora_file(path)  # says what is missing
    return Lora(path, strength)


def require_execution(execution: Execution, device: str) -> None:
    """Raises `UserError` where a model cannot run so on a device: on a CPU nothing is gained by main memory."""
    if execution.offload == IN_MEMORY and device == "cpu":
        raise UserError(
            "--offload ram keeps weights in main memory beside a GPU, and this run is on the CPU, where they are "
            "already; give a folder to keep them in files, or leave it out"
        )


def prepare(
    supir: Supir, changes: Changes, execution: Execution, device: str, compute_dtype: torch.dtype
) -> None:
    """Changes a loaded model in place, in the order that the parts need.

    Args:
        supir: as loaded, on the CPU where it is to be offloaded.
        changes: LoRAs and 8 bits.
        execution: how it runs.
        device: where it computes.
        compute_dtype: precision of the computation.

    Raises:
        ModelFileError: a LoRA does not fit.
    """
    from supir_model.lora import fuse_lora
    from supir_model.memory import compile_blocks, lay_out_channels_last, offload, store_in_float8

    for lora in changes.loras:
        layers = fuse_lora(supir, lora.path, lora.weight)
        counts = ", ".join(f"{number} of {part}" for part, number in layers.items())
        sys.stderr.write(f"{lora.path.name}: weight {lora.weight:g}, layers: {counts}\n")
    lay_out_channels_last(supir)
    if execution.compiled:
        compile_blocks(supir)
    if changes.float8:
        store_in_float8(supir, compute_dtype)
    if execution.offload:
        offload(supir, device, None if execution.offload == IN_MEMORY else execution.offload)
