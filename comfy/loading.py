"""Nodes that load a model: one of ours, or SDXL with an official SUPIR file; with LoRAs, in 8 bits, from main memory.

Place in the flow: `restoring` and `vae` take what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from supir_infer.model_source import DTYPES, ModelSource, load_model, resolve_model
from supir_infer.running import IN_MEMORY, MOST_WEIGHT, Changes, Execution, Lora
from supir_model import Supir

from . import host

CATEGORY = "SUPIR"
PRESETS = ("mini", "tiny")
HOW: dict[str, Any] = {
    "dtype": (list(DTYPES), {"default": "auto", "tooltip": "auto: bfloat16 on a GPU, float32 elsewhere"}),
    "float8": (
        "BOOLEAN",
        {"default": False, "tooltip": "Hold the weights in 8 bits: half of bfloat16's memory"},
    ),
    "offload": (
        "BOOLEAN",
        {"default": False, "tooltip": "Keep weights in main memory; each layer visits the GPU"},
    ),
    "compile": ("BOOLEAN", {"default": False, "tooltip": "A slow first picture, faster ones then"}),
}


@dataclass(frozen=True)
class Loaded:
    """A model, and what it was loaded from."""

    supir: Supir
    source: ModelSource


class SupirLora:
    """Adds a LoRA for SDXL to those that a loader takes."""

    CATEGORY = CATEGORY
    FUNCTION = "add"
    RETURN_TYPES = ("SUPIR_LORAS",)
    RETURN_NAMES = ("loras",)
    DESCRIPTION = (
        "A LoRA for SDXL (names of diffusers, kohya or PEFT). Chain several; connect the last to a loader."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        weight = {"default": 1.0, "min": -MOST_WEIGHT, "max": MOST_WEIGHT, "step": 0.05, "round": 0.001}
        return {
            "required": {"lora": (host.file_names("loras"),), "weight": ("FLOAT", weight)},
            "optional": {"loras": ("SUPIR_LORAS", {"tooltip": "Those before it"})},
        }

    @classmethod
    def IS_CHANGED(cls, lora: str, **_: Any) -> str:
        """Returns what tells ComfyUI that the file is another."""
        return host.fingerprint_of("loras", lora)

    def add(self, lora: str, weight: float, loras: tuple[Lora, ...] = ()) -> tuple[tuple[Lora, ...]]:
        """Returns the LoRAs so far and this one."""
        return ((*loras, Lora(host.file_path("loras", lora), weight)),)


class SupirLoad:
    """Loads `mini`, or a folder of supir-train below ComfyUI's `models/supir`."""

    CATEGORY = CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = ("SUPIR_MODEL",)
    RETURN_NAMES = ("model",)
    DESCRIPTION = "mini (embedded; tiny is random, for tests), or a model folder below models/supir."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        return {
            "required": {"model": ([*PRESETS, *host.model_folders()],), **HOW},
            "optional": {"loras": ("SUPIR_LORAS",)},
        }

    @classmethod
    def IS_CHANGED(cls, model: str, **_: Any) -> str:
        """Returns what tells ComfyUI that the model was trained on."""
        return host.fingerprint(host.model_folders().get(model))

    def load(self, model: str, loras: tuple[Lora, ...] = (), **how: Any) -> tuple[Loaded]:
        """Returns the model."""
        folder = host.model_folders().get(model)
        return (_load(resolve_model(model if folder is None else str(folder)), loras, **how),)


class SupirLoadOnBase:
    """Loads SDXL with an official SUPIR file, both from ComfyUI's `models/checkpoints`."""

    CATEGORY = CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = ("SUPIR_MODEL",)
    RETURN_NAMES = ("model",)
    DESCRIPTION = "An SDXL checkpoint with SUPIR-v0F or SUPIR-v0Q, both from models/checkpoints."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        files = host.file_names("checkpoints")
        base, supir = (
            {"tooltip": "SDXL, one file"},
            {"tooltip": "SUPIR-v0F or SUPIR-v0Q, .safetensors or .ckpt"},
        )
        return {
            "required": {"base": (files, base), "checkpoint": (files, supir), **HOW},
            "optional": {"loras": ("SUPIR_LORAS",)},
        }

    @classmethod
    def IS_CHANGED(cls, base: str, checkpoint: str, **_: Any) -> str:
        """Returns what tells ComfyUI that a file is another."""
        return host.fingerprint_of("checkpoints", base) + host.fingerprint_of("checkpoints", checkpoint)

    def load(self, base: str, checkpoint: str, loras: tuple[Lora, ...] = (), **how: Any) -> tuple[Loaded]:
        """Returns the model."""
        source = resolve_model(
            None, host.file_path("checkpoints", base), host.file_path("checkpoints", checkpoint)
        )
        return (_load(source, loras, **how),)


def _load(source: ModelSource, loras: tuple[Lora, ...], **how: Any) -> Loaded:
    changed = source.changed(Changes(loras, how["float8"]))
    execution = Execution(IN_MEMORY if how["offload"] else None, how["compile"])
    host.make_room()
    return Loaded(load_model(changed, host.device(), how["dtype"], execution), changed)
