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
    if name == "auto" or (name == "cuda" and has_cuda):
        return (
            torch.device("cuda", world.local_rank % torch.cuda.device_count())
            if has_cuda
            else torch.device("cpu")
        )
    if name.startswith("cuda") and not has_cuda:
        raise UserError(f"device: {name} was asked for, but this torch sees no CUDA device; use device: cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N") from error
