"""What the nodes ask of ComfyUI: its folders, its device, its progress bar, whether somebody pressed Cancel.

Place in the flow: the one module that imports ComfyUI's; `comfy.…` is ComfyUI's package, not this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import folder_paths

import comfy.model_management
import comfy.utils
from supir_console import UserError

MODELS = "supir"
"""The folder below ComfyUI's `models` that holds model folders of supir-stack."""


def device() -> str:
    """Returns the kind of device that ComfyUI computes on, such as "cuda"."""
    return str(comfy.model_management.get_torch_device().type)


def make_room() -> None:
    """Sends the models that ComfyUI holds on the device away; they come back when they are used again."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


def progress(steps: int) -> Callable[[object], None]:
    """Returns what to call after each of `steps` steps; what it is given is left aside."""
    bar = comfy.utils.ProgressBar(steps)
    return lambda _: bar.update(1)


def is_cancelled() -> bool:
    """Returns False; where somebody pressed Cancel, raises what ComfyUI ends a graph with."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    return False


def model_folders() -> dict[str, Path]:
    """Returns the folders below `models/supir`, by name."""
    root = Path(folder_paths.models_dir) / MODELS
    found = sorted(path.parent for path in root.glob("*/config.json"))
    return {path.name: path for path in found}


def file_names(kind: str) -> list[str]:
    """Returns the files of one of ComfyUI's kinds, such as "checkpoints" or "loras"."""
    return list(folder_paths.get_filename_list(kind))


def file_path(kind: str, name: str) -> Path:
    """Returns where a file of `file_names` lies.

    Raises:
        UserError: it is gone.
    """
    path = folder_paths.get_full_path(kind, name)
    if path is None:
        raise UserError(f"{name} is no longer among ComfyUI's {kind}; choose another")
    return Path(path)
