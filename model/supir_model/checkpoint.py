"""Official SUPIR checkpoints, opened onto an SDXL base and written back, every tensor accounted for.

Place in the flow: `load_supir(base, checkpoint)` reads here; `save_checkpoint` is the way back.
Law: what does not fit is refused by name before a tensor is read or a module is filled. The control encoder's depth
is read from the names, the connectors' width from the shapes; all other widths are the base's.
Source: layout of the released files: control encoder 810 tensors, connectors 118, robust encoder 106.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.errors import ModelFileError, first_line
from supir_model.folder import give_usual_mode, require_held
from supir_model.official_names import (
    CONNECTORS,
    CONTROL,
    ROBUST_ENCODER,
    connector_name,
    official_shape,
    unet_name,
    vae_name,
)
from supir_model.tensor_file import TensorFile

if TYPE_CHECKING:
    from supir_model.supir import Supir

LEFTOVERS: Final = (CONTROL + "mask_LQ",)
"""Left in a released file by its training; nothing reads it."""
CONNECTOR_SETTINGS: Final = "supir_connectors"
"""Metadata of our safetensors: widths that no shape tells, for adapters that are not SDXL-sized."""
NAMED_IN_AN_ERROR: Final = 3


@dataclass(frozen=True, slots=True)
class Adapter:
    """What SUPIR adds to SDXL: the content of an official checkpoint."""

    control: ControlEncoder
    connectors: Connectors
    robust_encoder: nn.Module


def load_checkpoint(
    path: str | Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Adapter:
    """The adapter in an official file, shaped for `unet` and `vae`.

    Args:
        path: `.safetensors` or `.ckpt`, in any floating precision.
        unet, vae: of the base that it was trained on, or of a finetune of it.
        device: where it goes, tensor by tensor.
        dtype: its precision; the robust encoder takes the VAE's.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: a tensor is missing, unknown or misshapen, or the file is damaged.
    """
    file = TensorFile(path)
    if not isinstance(vae, AutoencoderKL):
        raise ModelFileError(f"{path} wants a base with SDXL's VAE; this one has {type(vae).__name__}")
    with torch.device("meta"):
        adapter = Adapter(
            control=ControlEncoder.for_unet(unet, _control_depth(file)),
            connectors=_connectors(file, unet),
            robust_encoder=type(vae)(**_arguments(vae)).encoder,
        )
    owners = {name: (part, key) for part, key, name, _ in _parameters(adapter)}
    _require_fit(file, {name: shape for _, _, name, shape in _parameters(adapter)})
    states: dict[int, dict[str, Tensor]] = {id(part): {} for part in _parts(adapter)}
    for name, tensor in file.read([name for name in file.shapes if name in owners]):
        part, key = owners[name]
        wanted = vae.dtype if part is adapter.robust_encoder else dtype
        shape = part.get_parameter(key).shape
        states[id(part)][key] = tensor.to(device, wanted).reshape(shape)
    for part in _parts(adapter):
        part.load_state_dict(states.pop(id(part)), assign=True)
    return adapter


def save_checkpoint(adapter: Adapter | Supir, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write control encoder, connectors and robust encoder as an official file, which opens to the same bits.

    Args:
        adapter: an `Adapter`, or a whole model.
        path: ends in `.safetensors`, or in `.ckpt` for a file of torch.save.
        dtype: precision on disk; None keeps what is held.

    Raises:
        ValueError: another suffix, a model that the layout cannot hold, or weights that were offloaded to files.
    """
    path = Path(path)
    require_held(adapter.control, adapter.connectors)
    if adapter.connectors.config["kind"] != "zero_sft" or not hasattr(adapter.robust_encoder, "down_blocks"):
        raise ValueError(
            "the official layout holds zero_sft connectors and an SDXL encoder; use save_pretrained for another model"
        )
    if path.suffix not in (".safetensors", ".ckpt"):
        raise ValueError(f"{path} has the suffix {path.suffix!r}; use .safetensors or .ckpt")
    tensors = {
        name: part.get_parameter(key).detach().to(dtype=dtype).reshape(shape).contiguous()
        for part, key, name, shape in _parameters(adapter)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    if path.suffix == ".ckpt":
        torch.save({"state_dict": tensors}, temporary)
    else:
        settings = json.dumps(_arguments(adapter.connectors))
        save_file(tensors, temporary, metadata={"format": "pt", CONNECTOR_SETTINGS: settings})
    give_usual_mode([temporary])
    temporary.replace(path)


def _parts(adapter: Adapter | Supir) -> tuple[nn.Module, nn.Module, nn.Module]:
    return adapter.control, adapter.connectors, adapter.robust_encoder


def _parameters(adapter: Adapter | Supir) -> Iterator[tuple[nn.Module, str, str, tuple[int, ...]]]:
    """Module, our name, official name and official shape of every parameter."""
    robust_levels = len(adapter.robust_encoder.down_blocks)  # type: ignore[arg-type]
    naming: tuple[tuple[nn.Module, str, Callable[[str], str]], ...] = (
        (adapter.control, CONTROL, unet_name),
        (adapter.connectors, CONNECTORS, connector_name),
        (adapter.robust_encoder, ROBUST_ENCODER, lambda key: vae_name(key, robust_levels)),
    )
    for part, prefix, official in naming:
        for key, parameter in part.named_parameters():
            name = prefix + official(key)
            yield part, key, name, official_shape(name, tuple(parameter.shape))


def _control_depth(file: TensorFile) -> tuple[int, int, int]:
    found = (
        re.match(re.escape(CONTROL) + r"input_blocks\.([47])\.1\.transformer_blocks\.(\d+)\.", name)
        for name in file.shapes
    )
    depths = {"4": 0, "7": 0}
    for match in found:
        if match:
            depths[match[1]] = max(depths[match[1]], int(match[2]) + 1)
    if not all(depths.values()):
        raise ModelFileError(
            f"{file.path} holds no SUPIR control encoder ({CONTROL}…); give SUPIR-v0Q, SUPIR-v0F or"
            " one of the same layout"
        )
    return 1, depths["4"], depths["7"]


def _connectors(file: TensorFile, unet: UNet2DConditionModel) -> Connectors:
    if CONNECTOR_SETTINGS not in file.metadata:
        (hidden,) = file.shapes.get(CONNECTORS + "0.mlp_shared.0.bias") or (128,)
        return Connectors(block_out_channels=unet.config["block_out_channels"], hidden_channels=hidden)
    try:
        return Connectors(**json.loads(file.metadata[CONNECTOR_SETTINGS]))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{file.path} has damaged metadata, {CONNECTOR_SETTINGS}: {first_line(error)}; write it again"
        ) from error


def _arguments(module: Any) -> dict[str, Any]:
    return {key: value for key, value in module.config.items() if not key.startswith("_")}


def _require_fit(file: TensorFile, expected: dict[str, tuple[int, ...]]) -> None:
    seen = {name: shape for name, shape in file.shapes.items() if name not in LEFTOVERS}
    problems = {
        "missing": sorted(expected.keys() - seen.keys()),
        "unknown": sorted(seen.keys() - expected.keys()),
        "of another shape": [
            f"{name} {list(seen[name])}, wanted {list(shape)}"
            for name, shape in expected.items()
            if name in seen and seen[name] != shape
        ],
    }
    told = [
        f"{len(names)} {what}: {', '.join(names[:NAMED_IN_AN_ERROR])}{' …' if len(names) > NAMED_IN_AN_ERROR else ''}"
        for what, names in problems.items()
        if names
    ]
    if told:
        raise ModelFileError(
            f"{file.path} does not fit this base ({len(expected)} tensors wanted); {'; '.join(told)}"
        )
