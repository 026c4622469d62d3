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
"""The kind of ComfyUI's folders that holds model folders of supir-stack: `models/supir`, and what
`extra_model_paths.yaml` names so."""

folder_paths.add_model_folder_path(MODELS, str(Path(folder_paths.models_dir) / MODELS))


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
    """Returns the model folders below ComfyUI's folders of that kind, by name; the first of a name counts."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(MODELS)]
    found = [path.parent for root in reversed(roots) for path in sorted(root.glob("*/config.json"))]
    return {path.name: path for path in sorted(found, key=lambda path: path.name)}


def fingerprint(path: Path | None) -> str:
    """Returns what changes when a file, or a file of a folder, is written anew; "" of a path that is not there.

    ComfyUI keeps what a node gave as long as its inputs are the same, and the name of a model that was trained on is.
    """
    if path is None or not path.exists():
        return ""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def file_names(kind: str) -> list[str]:
    """Returns the files of one of ComfyUI's kinds, such as "checkpoints" or "loras"."""
    return list(folder_paths.get_filename_list(kind))


def fingerprint_of(kind: str, name: str) -> str:
    """Returns the `fingerprint` of a file of `file_names`."""
    path = folder_paths.get_full_path(kind, name)
    return fingerprint(Path(path) if path else None)


def file_path(kind: str, name: str) -> Path:
    """Returns where a file of `file_names` lies.

    Raises:
        UserError: it is gone.
    """
    path = folder_paths.get_full_path(kind, name)
    if path is None:
        raise UserError(f"{name} is no longer among ComfyUI's {kind}; choose another")
    return Path(path)
