"""Which model a command uses: its name, the hash of its files and how it is loaded.

Place in the flow: `cli` and `web_cli` resolve `--model` here; the hash is part of every output's identity.
The law it keeps: the hash is over the files' names and bytes, so two outputs with one model hash came from
one network. The heavy import happens in `load_model`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import supir_model
from supir_console import UserError
from supir_model import PRESETS

if TYPE_CHECKING:
    from supir_model import Supir

HASHED_SUFFIXES = (".safetensors", ".json", ".txt", ".model")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model by name; `folder` holds its files, None for a preset whose weights are made from a seed."""

    name: str
    folder: Path | None

    def sha256(self) -> str:
        """Returns the SHA-256 over the model's files, or over its name where there are none."""
        if self.folder is None:
            return hashlib.sha256(self.name.encode()).hexdigest()
        total = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.suffix in HASHED_SUFFIXES:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                total.update(f"{path.relative_to(self.folder).as_posix()}\t{digest}\n".encode())
        return total.hexdigest()


def resolve_model(name: str) -> ModelSource:
    """Returns the source that `--model NAME` means: a preset, or a folder of `Supir.save_pretrained`.

    Raises:
        UserError: neither a preset that can be used by name nor a folder.
    """
    usable = [preset for preset in PRESETS if preset != "sdxl"]
    if name in usable:
        folder = Path(supir_model.__file__).parent / "weights" / name
        return ModelSource(name, folder if PRESETS[name].embedded else None)
    if Path(name).is_dir():
        return ModelSource(Path(name).name, Path(name))
    raise UserError(
        f"--model {name} is neither a preset ({', '.join(usable)}) nor a folder; give a folder written by "
        "supir-train or Supir.save_pretrained"
    )


def resolve_device(device: str) -> str:
    """Returns the device that `--device NAME` means: auto takes CUDA where there is one, else the CPU.

    Raises:
        UserError: unknown name, or no such device here.
    """
    import torch

    if device not in DEVICES:
        raise UserError(f"--device {device} is unknown; use {', '.join(DEVICES)}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[device]:
        raise UserError(f"--device {device}: torch sees no such device here; use --device auto or cpu")
    return device


def load_model(source: ModelSource, device: str, dtype: str) -> Supir:
    """Returns the network on its device.

    Args:
        source: from `resolve_model`.
        device: one of DEVICES, see `resolve_device`.
        dtype: one of DTYPES; auto is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        UserError: unknown device or dtype, or no such device here.
    """
    import torch

    from supir_model import load_supir

    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype} is unknown; use {', '.join(DTYPES)}")
    chosen = resolve_device(device)
    automatic = torch.bfloat16 if chosen == "cuda" else torch.float32
    precision = automatic if dtype == "auto" else getattr(torch, dtype)
    if source.folder is None:
        return load_supir(preset=source.name, device=chosen, dtype=precision)
    return load_supir(source.folder, device=chosen, dtype=precision)
