"""Which model a command uses: its name, the hash of its files, the settings it needs and how it is loaded.

Place in the flow: `cli` and `web_cli` resolve `--model`, or `--base` with `--checkpoint`, here; the hash is part
of every output's identity.
The law it keeps: the hash is over the names and bytes of the files that are loaded, so two outputs with one
model hash came from one network. The heavy import happens in `load_model`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import supir_model
from supir_console import Progress, UserError
from supir_infer.running import ON_DEVICE, UNCHANGED, Changes, Execution, prepare, require_execution
from supir_model import PRESETS

if TYPE_CHECKING:
    import torch

    from supir_model import Supir

SHARED_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer")
OWN_PARTS = ("config.json", "control", "connectors", "robust_encoder")
HASHED_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model")
READ_BYTES = 16 * 2**20
SDXL_SETTINGS = "fidelity"  # the published defaults
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model by name.

    `path` is a folder of ours, or an SDXL base (folder or file) below `checkpoint`, an official SUPIR file; None
    for a preset whose weights are made from a seed. `changes` are LoRAs and 8-bit weights.
    """

    name: str
    path: Path | None
    checkpoint: Path | None = None
    changes: Changes = UNCHANGED

    def changed(self, changes: Changes) -> ModelSource:
        """Returns the model with `changes`."""
        return replace(self, changes=changes)

    def described(self) -> str:
        """Returns its name with what was changed, which outputs carry."""
        return self.changes.described(self.name)

    def sha256(self) -> str:
        """Returns the SHA-256 over the files that are loaded (without any, the name), and over the changes."""
        return self.changes.sha256(self._plain_sha256())

    def _plain_sha256(self) -> str:
        if self.path is None:
            return hashlib.sha256(self.name.encode()).hexdigest()
        files = dict(self._files(self.path))
        num_reads = sum(-(-path.stat().st_size // READ_BYTES) for path in files.values())
        total = hashlib.sha256()
        with Progress(num_reads, "hash the model", "reads of 16 MiB") as progress:
            for name, path in files.items():
                digest = hashlib.sha256()
                with path.open("rb") as stream:
                    while block := stream.read(READ_BYTES):
                        digest.update(block)
                        progress.advance()
                total.update(f"{name}\t{digest.hexdigest()}\n".encode())
        return total.hexdigest()

    def num_bytes(self) -> int:
        """Returns the bytes of the files that are loaded; 0 where there are none."""
        return 0 if self.path is None else sum(path.stat().st_size for _, path in self._files(self.path))

    def settings_preset(self) -> str:
        """Returns the settings preset that fits: `fidelity` for an SDXL latent, `mini` for the small models."""
        return SDXL_SETTINGS if self.is_sdxl() else "mini"

    def is_sdxl(self) -> bool:
        """Returns whether its latent is SDXL's."""
        if self.path is None:
            return False
        if self.path.is_file():
            return True  # a single file is an SDXL base or is refused when it is loaded
        vae = _read_config(self.path / "vae" / "config.json")
        return vae.get("_class_name") == "AutoencoderKL" and vae.get("latent_channels", 4) == 4

    def _files(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Name in the hash and path of every file that is loaded; a single file's own name says nothing."""
        if path.is_file():
            yield "base", path
        else:
            parts = SHARED_PARTS if self.checkpoint else (*SHARED_PARTS, *OWN_PARTS)
            for file in sorted(path.rglob("*")):
                inside = file.relative_to(path)
                if file.suffix in HASHED_SUFFIXES and inside.parts[0] in parts and file.is_file():
                    yield inside.as_posix(), file
        if self.checkpoint is not None:
            yield "checkpoint", self.checkpoint


def resolve_model(model: str | None, base: Path | None = None, checkpoint: Path | None = None) -> ModelSource:
    """Returns the source that `--model NAME`, or `--base PATH --checkpoint FILE`, means.

    Args:
        model: a preset, or a folder of `Supir.save_pretrained`; None without a base means `mini`.
        base: SDXL, a diffusers folder or one LDM-style file.
        checkpoint: official SUPIR file, .safetensors or .ckpt.

    Raises:
        UserError: neither a usable preset nor a model's folder, options that exclude or need one another, or a
            missing file.
    """
    if base is None and checkpoint is None:
        return _named_model(model or "mini")
    if model is not None:
        raise UserError(f"--model {model} is a whole model; leave it out beside --base and --checkpoint")
    if base is None or checkpoint is None:
        given = f"--base {base}" if base else f"--checkpoint {checkpoint}"
        raise UserError(
            f"{given} alone restores nothing: give both --base (SDXL, a folder or a file) and --checkpoint "
            "(an official SUPIR file)"
        )
    if not base.exists():
        raise UserError(f"--base {base} does not exist; give a diffusers SDXL folder or an SDXL file")
    if not checkpoint.is_file():
        raise UserError(f"--checkpoint {checkpoint} is no file; give a SUPIR .safetensors or .ckpt")
    return ModelSource(f"{base.name}+{checkpoint.name}", base, checkpoint)


def _named_model(name: str) -> ModelSource:
    usable = [preset for preset in PRESETS if preset != "sdxl"]
    if name in usable:
        folder = Path(supir_model.__file__).parent / "weights" / name
        return ModelSource(name, folder if PRESETS[name].embedded else None)
    folder = Path(name)
    if _read_config(folder / "config.json").get("_class_name") == "Supir":
        return ModelSource(folder.resolve().name, folder)
    hint = "give a folder written by supir-train or Supir.save_pretrained"
    if folder.exists():
        raise UserError(
            f"--model {name} holds no SUPIR model (no config.json of one); {hint}, or an SDXL base with --base {name} "
            "--checkpoint FILE"
        )
    raise UserError(f"--model {name} is neither a preset ({', '.join(usable)}) nor a folder; {hint}")


def _read_config(path: Path) -> dict[str, Any]:
    """The JSON object in the file, {} where there is none; loading the model says what is wrong with it."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


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


def resolve_precision(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Returns the device and the dtype that `--device` and `--dtype` mean.

    Raises:
        UserError: unknown device or dtype, or no such device here.
    """
    import torch

    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype} is unknown; use {', '.join(DTYPES)}")
    chosen = resolve_device(device)
    automatic = torch.bfloat16 if chosen == "cuda" else torch.float32
    return chosen, automatic if dtype == "auto" else getattr(torch, dtype)


def load_model(source: ModelSource, device: str, dtype: str, execution: Execution = ON_DEVICE) -> Supir:
    """Returns the network on its device, changed as the source says.

    Args:
        source: from `resolve_model`.
        device: one of DEVICES, see `resolve_device`.
        dtype: one of DTYPES; auto is bfloat16 on CUDA and float32 elsewhere.
        execution: how it runs.

    Raises:
        UserError: unknown device or dtype, no such device here, too little memory, or files that are damaged or
            do not fit together.
        ModelFileError: a LoRA that does not fit.
    """
    import torch

    from supir_model import load_supir

    chosen, precision = resolve_precision(device, dtype)
    require_execution(execution, chosen)
    place = execution.loads_on or chosen
    try:
        if source.path is None:
            supir = load_supir(preset=source.name, device=place, dtype=precision)
        else:
            supir = load_supir(source.path, source.checkpoint, device=place, dtype=precision)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the model {source.name} does not fit into the memory of {chosen}; use --dtype bfloat16, --float8, "
            "--offload ram, or --device cpu"
        ) from error
    except Exception as error:  # the parsers of five libraries meet the user's files here
        known = isinstance(error, (OSError, ValueError, ImportError))
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        files = f"{source.path} with {source.checkpoint}" if source.checkpoint else source.path
        raise UserError(f"the model {source.name} ({files}) cannot be loaded: {reason}") from error
    prepare(supir, source.changes, execution, chosen, precision)
    return supir
