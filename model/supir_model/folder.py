"""A model on disk: one subfolder a part, each with safetensors and the config it was built from.

Place in the flow: behind `Supir.save_pretrained`, `Supir.from_pretrained` and the embedded weights.
Law: the folder needs no preset: the classes and sizes are in the files. Its shared parts (unet/, vae/,
text_encoder/, text_encoder_2/, tokenizer/) are those of a diffusers SDXL folder.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.errors import ModelFileError, first_line
from supir_model.estimator import DegradationEstimator
from supir_model.mini_vae import MiniVAE
from supir_model.presets import PREDICTION_TYPE, PREDICTION_TYPES
from supir_model.strength_map import StrengthMap
from supir_model.tensor_file import TensorFile
from supir_model.text import TextEncoders

if TYPE_CHECKING:
    from supir_model.supir import Supir

FORMAT: Final = 1
CONFIG: Final = "config.json"
CLASS_NAME: Final = "Supir"
ROBUST_FILE: Final = "robust_encoder/diffusion_pytorch_model.safetensors"
JUDGES: Final = {"estimator": DegradationEstimator, "strength_map": StrengthMap}
"""Folders of the parts that a model may lack, float32 whatever the others are."""
SCHEDULER: Final = "scheduler/scheduler_config.json"
"""Of diffusers' folders: there the scheduler says what the UNet puts out."""
PARTS: Final = ("unet", "control", "connectors", "vae", "text_encoder", "text_encoder_2", "tokenizer")


def save_folder(supir: Supir, folder: Path, dtype: torch.dtype | None) -> None:
    """Write `supir` to `folder`, part by part, config.json last.

    Args:
        dtype: precision on disk; None keeps the precision each part is held in.

    Raises:
        ValueError: the weights were offloaded to files.
    """
    require_held(supir.unet, supir.control, supir.connectors)
    text = supir.text
    parts: tuple[tuple[str, Any], ...] = (
        ("unet", supir.unet),
        ("control", supir.control),
        ("connectors", supir.connectors),
        ("vae", supir.vae),
        ("text_encoder", text.text_encoder),
        ("text_encoder_2", text.text_encoder_2),
        *((name, judge) for name in JUDGES if (judge := getattr(supir, name))),
    )
    with _quiet_libraries():
        for name, part in parts:
            (part if dtype is None else _cast(copy.deepcopy(part), dtype)).save_pretrained(folder / name)
            _forget_origin(folder / name / CONFIG)
    text.tokenizer.save_pretrained(folder / "tokenizer")
    robust = folder / ROBUST_FILE
    robust.parent.mkdir(exist_ok=True)
    state = {key: value.to(dtype).contiguous() for key, value in supir.robust_encoder.state_dict().items()}
    save_file(state, robust, metadata={"format": "pt"})
    give_usual_mode(folder.rglob("*.safetensors"))
    config = {"_class_name": CLASS_NAME, "format": FORMAT}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def give_usual_mode(paths: Iterable[Path]) -> None:
    """Lets others read files as far as the umask does: safetensors makes them for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in paths:
        path.chmod(0o666 & ~umask)


def require_held(*parts: nn.Module) -> None:
    """Raises ValueError if the weights were offloaded to files, where nothing but a forward pass can read them."""
    for module in itertools.chain.from_iterable(part.modules() for part in parts):
        registry = getattr(module, "_diffusers_hook", None)
        offloading = registry and registry.get_hook("group_offloading")
        if offloading and offloading.group.offload_to_disk_path:
            raise ValueError(
                f"the weights were offloaded to {offloading.group.offload_to_disk_path} and cannot be saved;"
                " save the model before"
            )


def load_folder(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> Supir:
    """The model in `folder`, on `device` in `dtype`; the VAE stays float32 when `dtype` is float16.

    Raises:
        FileNotFoundError: config.json or a part is missing.
        ModelFileError: written by a newer format, or a part is damaged or incomplete.
    """
    from supir_model.supir import Supir

    if not holds_model(folder):
        raise FileNotFoundError(
            f"{folder} holds no SUPIR model: no {CONFIG} of one; give a folder of save_pretrained"
        )
    seen = _read_json(folder / CONFIG).get("format")
    if seen != FORMAT:
        raise ModelFileError(
            f"{folder / CONFIG} has format {seen!r}; this version reads {FORMAT}, update supir-stack"
        )
    missing = [part for part in (*PARTS, ROBUST_FILE) if not (folder / part).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} is incomplete: missing {', '.join(missing)}; write it again")
    shared = load_shared_parts(folder, dtype)
    supir = Supir(
        **shared,
        control=_load_part(ControlEncoder, folder / "control", torch_dtype=dtype),
        connectors=_load_part(Connectors, folder / "connectors", torch_dtype=dtype),
        **{name: load_judge(folder, name) for name in JUDGES if (folder / name).is_dir()},
    )
    load_robust_encoder(supir.robust_encoder, folder / ROBUST_FILE, shared["vae"].dtype)
    return supir.to(device)


def holds_model(folder: Path) -> bool:
    """Whether `folder` is one of `save_folder`, of any format.

    Raises:
        ModelFileError: its config.json is damaged.
    """
    config = folder / CONFIG
    return config.is_file() and _read_json(config).get("_class_name") == CLASS_NAME


def load_shared_parts(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """UNet, VAE and text encoders of a diffusers SDXL folder or of one of ours, as arguments of `Supir`.

    Raises:
        FileNotFoundError: a part is missing.
        ModelFileError: a part is damaged or incomplete.
    """
    vae_config = part_config(folder / "vae")
    kind = vae_config.get("_class_name")
    if kind == "MiniVAE" and "robust_layers" not in vae_config:
        raise ModelFileError(
            f"{folder / 'vae'} is the autoencoder of an older mini, which this version cannot run; train again from "
            "init: mini"
        )
    vae_class = MiniVAE if kind == "MiniVAE" else AutoencoderKL
    first = _load_part(CLIPTextModel, folder / "text_encoder", dtype=dtype)
    second = _load_part(CLIPTextModelWithProjection, folder / "text_encoder_2", dtype=dtype)
    tokenizer = _load_tokenizer(folder / "tokenizer", first.config.vocab_size)
    unet = _load_part(UNet2DConditionModel, folder / "unet", torch_dtype=dtype)
    if (folder / SCHEDULER).is_file() and not holds_model(folder):
        told = _read_json(folder / SCHEDULER).get("prediction_type") or "epsilon"
        if told != "epsilon":  # what a config without the key means
            unet.register_to_config(**{PREDICTION_TYPE: told})
    require_known_prediction(unet, folder)
    return {
        "unet": unet,
        "vae": _load_part(vae_class, folder / "vae", torch_dtype=vae_dtype(dtype)),
        "text": TextEncoders(tokenizer, first, second),
    }


def require_known_prediction(unet: UNet2DConditionModel, source: Path) -> None:
    """Raises ModelFileError where the UNet puts out neither the noise, the velocity nor the clean latent."""
    kind = unet.config.get(PREDICTION_TYPE) or "epsilon"
    if kind not in PREDICTION_TYPES:
        raise ModelFileError(
            f"{source} has a prior of {PREDICTION_TYPE} {kind!r}; SUPIR needs one of {' or '.join(PREDICTION_TYPES)}"
        )


def load_robust_encoder(encoder: nn.Module, file: Path, dtype: torch.dtype) -> None:
    """Fill the robust encoder from its safetensors file; every tensor must match.

    Raises:
        ModelFileError: a tensor is missing, unknown or misshapen, or the file is damaged.
    """
    state = dict(TensorFile(file).read_all())
    try:
        encoder.load_state_dict({key: value.to(dtype) for key, value in state.items()})
    except RuntimeError as error:
        raise ModelFileError(f"{file} does not fit its VAE: {first_line(error)}") from error


def load_judge(folder: Path, name: str) -> Any:
    """One of `JUDGES` of the model in `folder`.

    Raises:
        FileNotFoundError: the model has none.
        ModelFileError: it is damaged.
    """
    return _load_part(JUDGES[name], folder / name, torch_dtype=torch.float32)


def vae_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision of the VAE beside a network in `dtype`: the SDXL VAE overflows in float16."""
    return torch.float32 if dtype == torch.float16 else dtype


def _load_part(kind: Any, folder: Path, **options: Any) -> Any:
    """A part of the libraries' classes, and nothing less: both fill what a file lacks with random numbers.

    Without the checks before it, a damaged file makes them look for others, on the network too.
    """
    part_config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} has no weights (.safetensors); write or download it again")
    for file in files:
        TensorFile(file)
    # a download of the half-precision files alone, as diffusers names them
    variant = "fp16" if all(".fp16" in file.name for file in files) else None
    options |= {"variant": variant, "local_files_only": True, "use_safetensors": True}
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # the report says it better
    try:
        with _quiet_libraries():
            part, report = kind.from_pretrained(folder, **options)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder} is damaged: {first_line(error)}; write it again") from error
    for what in ("missing", "unexpected", "mismatched"):
        names = sorted(map(str, report[f"{what}_keys"]))
        if names:
            raise ModelFileError(
                f"{folder} does not fit its {CONFIG}: {len(names)} tensors {what}, first {names[0]}; write it again"
            )
    return part


def part_config(folder: Path) -> dict[str, Any]:
    """A part's config.json; FileNotFoundError or ModelFileError where there is none."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; write or download it again")
    config = _read_json(folder / CONFIG)
    if not config:
        raise ModelFileError(f"{folder / CONFIG} describes no model; write or download it again")
    return config


def _load_tokenizer(folder: Path, vocab_size: int) -> CLIPTokenizer:
    """The tokenizer, whole: the library makes an empty one of a folder that lacks its vocabulary."""
    files = ("tokenizer.json",), ("vocab.json", "merges.txt")
    if not any(all((folder / name).is_file() for name in names) for names in files):
        raise FileNotFoundError(
            f"{folder} has neither tokenizer.json nor vocab.json and merges.txt; write it again"
        )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing more special
        raise ModelFileError(f"{folder} is damaged: {first_line(error)}; write it again") from error
    if len(tokenizer) != vocab_size:
        raise ModelFileError(
            f"{folder} has {len(tokenizer)} tokens, the text encoder {vocab_size}; write both again, from one model"
        )
    return tokenizer


def _forget_origin(config: Path) -> None:
    """Take out the path that the part was loaded from: it tells of the machine and not of the model."""
    kept = {key: value for key, value in _read_json(config).items() if key != "_name_or_path"}
    config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def _cast(part: nn.Module, dtype: torch.dtype) -> Any:
    """Without diffusers' own `to`, which warns of modules to be kept in float32 where there are none."""
    return nn.Module.to(part, dtype)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{path} is no JSON: {error}; write it again") from error
    return content if isinstance(content, dict) else {}


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep transformers from drawing bars and tables: progress and errors on the terminal belong to the commands."""
    shown, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    of_diffusers = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()  # it takes the UNet's prediction type for a mistake
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        diffusers_logging.set_verbosity(of_diffusers)
        if shown:
            transformers_logging.enable_progress_bar()
