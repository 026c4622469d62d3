"""Which device a process of a run computes on."""

from __future__ import annotations

import torch

from supir_console import UserError
from supir_train.world import World


def chosen_device(name: str, world: World) -> torch.device:
    """Returns the device of this process: with CUDA, one GPU each of its machine.

    Args:
        name: auto, cpu, cuda or cuda:N.
        world: of the process.

    Raises:
        UserError: there is no such device.
    """
    has_cuda = torch.cuda.is_available()
    count = torch.cuda.device_count() if has_cuda else 0
    if name == "auto" or (name == "cuda" and has_cuda):
        return torch.device("cuda", world.local_rank % count) if has_cuda else torch.device("cpu")
    if name.startswith("cuda") and not has_cuda:
        raise UserError(f"device: {name} was asked for, but this torch sees no CUDA device; use device: cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and not (kind == "cuda" and index.isdecimal()):
        raise UserError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index) >= count:
        raise UserError(f"device: {name} was asked for, but this machine has cuda:0 to cuda:{count - 1}")
    return torch.device(name)
