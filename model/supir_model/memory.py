"""Less memory and less time for the three networks that run at every step.

Place in the flow: after `load_supir`, before sampling; each function changes the model in place.
Law: normalisations, scales and what starts at zero keep their precision; results differ by rounding only.
Source: diffusers' layerwise casting, group offloading and regional compilation, which act on the modules inside.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.hooks import apply_group_offloading
from torch import nn
from torch.utils.checkpoint import checkpoint

from supir_model.supir import Supir


def store_in_float8(supir: Supir, compute_dtype: torch.dtype) -> None:
    """Hold the weights of UNet, control encoder and connectors in 8 bits, cast up layer by layer as they are used.

    Args:
        compute_dtype: precision of the computation and of what is not stored in 8 bits, e.g. torch.bfloat16.
    """
    parts = _stepping(supir)
    nn.ModuleList(parts).to(compute_dtype)  # diffusers casts no more than the layers that it stores in 8 bits
    for part in parts:
        part.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=compute_dtype)


def lay_out_channels_last(supir: Supir) -> None:
    """Hold convolutions in the layout that they are fastest in, on CPUs as on GPUs; results differ by rounding."""
    # torch's stubs do not know this documented form of `Module.to`
    supir.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def checkpoint_activations(supir: Supir, *, enabled: bool = True) -> None:
    """Compute the activations of the backbones' blocks and of the VAE's again in the backward pass, not keep them.

    Results do not change. `MiniVAE` and the text encoders have no such blocks.
    """
    module: Any
    for module in supir.modules():
        # the robust encoder is a part of a diffusers model and none itself, so that no switch of theirs reaches it
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = enabled
            module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def compile_blocks(supir: Supir, **options: Any) -> None:
    """Compile the transformer blocks of UNet and control encoder: one of each shape, not the whole graph.

    Args:
        options: of `torch.compile`, e.g. dynamic=True; fullgraph=True where nothing is offloaded or stored in 8 bits.
    """
    supir.unet.compile_repeated_blocks(**options)
    supir.control.compile_repeated_blocks(**options)


def offload(supir: Supir, device: torch.device | str, folder: str | Path | None = None) -> None:
    """Keep the weights in main memory, or in files, and bring each layer to `device` as it is used.

    Args:
        device: where the computation runs.
        folder: where the weights go instead of main memory, in a subfolder of their own that is deleted with the
            model. The model cannot be saved afterwards.
    """
    weights = None if folder is None else _weights_folder(supir, Path(folder))
    for name, part in supir.named_children():
        if part in _stepping(supir):
            apply_group_offloading(
                part,
                onload_device=torch.device(device),
                offload_device=torch.device("cpu"),
                offload_type="leaf_level",
                offload_to_disk_path=str(weights / name) if weights else None,
            )
        else:
            part.to(device)


def _weights_folder(supir: Supir, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # new for every model: diffusers takes a file that is there already for one that it wrote
    weights = Path(tempfile.mkdtemp(prefix="weights-", dir=folder))
    weakref.finalize(supir, shutil.rmtree, weights, ignore_errors=True)
    for parameter in supir.parameters():
        parameter.data = parameter.data.contiguous()  # files hold no other layout
    return weights


def _stepping(supir: Supir) -> tuple[ModelMixin, ModelMixin, ModelMixin]:
    return supir.unet, supir.control, supir.connectors
