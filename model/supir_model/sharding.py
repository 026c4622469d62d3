"""Trained parts of the network in shares, one share a process: FSDP2 (`fully_shard`), one unit a block.

Place in the flow: `train` calls it once the starting weights stand; the parts are then called as before, through
`forward` or the methods that are registered here. Law: a unit is whole only while it computes; between two steps each
process holds its share, so the parameters may be changed in place then. Frozen parts stay whole in every process: at
2 bytes a number they are cheaper to hold than to send.
Source: `torch.distributed.fsdp.fully_shard`; units as in torchtitan, the smallest blocks that repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from supir_model.connectors import ZeroConv, ZeroCrossAttention, ZeroSFT
from supir_model.mini_vae import Residual
from supir_model.supir import Supir

BLOCKS = (BasicTransformerBlock, ResnetBlock2D, Residual, ZeroSFT, ZeroCrossAttention, ZeroConv)
"""What becomes a unit of its own; the rest of a part is one unit more."""
PARTS = ("control", "connectors", "robust_encoder")
"""The parts that can be held in shares."""
ENTRIES = ("encode", "encode_lq", "decode", "predict_eps", "prepare", "eps", "denoise", "denoise_prepared")
"""The methods of `Supir` that run a part; the first call of any of them finds the units of all."""


def shard_trained(supir: Supir, mesh: DeviceMesh) -> None:
    """Replaces every parameter that asks for a gradient by this process's share of it, a `DTensor` of the same name.

    Gradients then come out of `backward` summed over the processes, in the same shares.

    Args:
        supir: on its device, with the same weights in every process.
        mesh: one dimension, of the device's kind.

    Raises:
        ValueError: something beside the control encoder, connectors and robust encoder is to be trained.
    """
    trained = {name: value for name, value in supir.named_parameters() if value.requires_grad}
    others = sorted({name.split(".")[0] for name in trained} - set(PARTS))
    if others:
        raise ValueError(f"{', '.join(others)} cannot be held in shares; train {', '.join(PARTS)} alone")
    for parameter in trained.values():
        parameter.data = parameter.data.contiguous()  # shares are rows; channels-last weights have none
    for name in PARTS:
        part = supir.get_submodule(name)
        if not any(parameter.requires_grad for parameter in part.parameters()):
            continue
        for block in part.modules():
            if isinstance(block, BLOCKS):
                _shard(block, mesh)
        _shard(part, mesh)
    frozen = {parameter for parameter in supir.parameters() if not parameter.requires_grad}
    fully_shard(supir, mesh=mesh, reshard_after_forward=True, ignored_params=frozen)
    for method in ("embed", "embed_hint"):
        register_fsdp_forward_method(supir.control, method)
    for method in ENTRIES:
        register_fsdp_forward_method(supir, method)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    # The root too gives its weights back after the forward pass: they are changed in place between two steps.
    unit = fully_shard(module, mesh=mesh, reshard_after_forward=True)
    unit.set_gradient_divide_factor(1.0)
    unit.set_force_sum_reduction_for_comms(True)


def unit_sizes(supir: Supir) -> list[int]:
    """The trained numbers of each unit that `shard_trained` would make, at least one."""
    sizes = [0]
    for name in PARTS:
        part = supir.get_submodule(name)
        blocks = [_trained(block) for block in part.modules() if isinstance(block, BLOCKS)]
        sizes += [*blocks, _trained(part) - sum(blocks)]
    return sizes


def _trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@contextmanager
def whole(supir: Supir) -> Iterator[None]:
    """Holds all of every unit in every process for the length of a `with` block: forward passes then send nothing.

    Processes may so run different numbers of them; parameters must not be changed within it. Nothing happens without
    units.
    """
    units = [module for module in supir.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            # first, as a unit whose forward pass failed gives nothing back that it is told to keep
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def is_share(tensor: Tensor) -> bool:
    """Whether the tensor is held in shares."""
    return isinstance(tensor, DTensor)


def own_share(tensor: Tensor) -> Tensor:
    """This process's numbers of a tensor that is held in shares, as a view; another tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def share_like(values: Tensor, tensor: Tensor) -> Tensor:
    """`values`, of the whole shape of `tensor`, held as that is: of what is in shares each process keeps its own."""
    if not isinstance(tensor, DTensor):
        return values
    mesh, placements = tensor.device_mesh, tensor.placements
    return distribute_tensor(values.to(tensor.device), mesh, placements, src_data_rank=None)


def whole_tensor(tensor: Tensor) -> Tensor:
    """All numbers of a tensor that is held in shares, which all processes ask for together; another one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
