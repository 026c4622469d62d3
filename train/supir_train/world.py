"""The processes of one run: who this one is, and the few things that all of them agree on.

Place in the flow: `cli` and `launch` start the processes, `run` and `loop` ask the `World`. A run of one process has
a world of one, in which every call returns at once. The law it keeps: every process calls the same methods in the
same order, and all of them come out with equal numbers.

Gradients are summed here once a step, in flat buckets, and not by `DistributedDataParallel`: a micro-batch without a
usable crop then costs nothing special, parameters that no loss reaches stay without a gradient as in one process, and
a discriminator is reduced by the same call. What is lost is the overlap with the last backward pass of a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from supir_console import Unfinished

Item = TypeVar("Item")
BUCKET_NUMBERS = 2**23
"""Numbers that are summed in one message: 32 MB of float32."""

GLOO = "gloo/"
"""Stands in what gloo's plain RuntimeErrors say: the source file that they come from."""

PATIENCE = timedelta(minutes=30)
"""How long a process waits for another, such as for rank 0 to write a checkpoint of SDXL's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One process among `size`; `local_rank` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and tells the user."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the processes; one that no process has stays None."""
        if self.size == 1:
            return
        listed = list(parameters)
        reached = torch.tensor([parameter.grad is not None for parameter in listed], dtype=torch.uint8)
        self._reduce(reached, distributed.ReduceOp.MAX)
        gradients = []
        for parameter, is_reached in zip(listed, reached.tolist(), strict=True):
            if is_reached:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            self._reduce(flat, distributed.ReduceOp.SUM)
            sizes = [gradient.numel() for gradient in bucket]
            for gradient, summed in zip(bucket, flat.split(sizes), strict=True):
                gradient.copy_(summed.view(gradient.shape))

    def total(self, value: float) -> float:
        """Returns the sum of `value` over the processes."""
        return self._agreed(value, distributed.ReduceOp.SUM)

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` is set in any process."""
        return bool(self._agreed(float(flag), distributed.ReduceOp.MAX))

    def gather(self, item: Item) -> list[Item]:
        """Returns every process's `item`, by rank."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        _together(distributed.all_gather_object, items, item)
        return items

    def from_first(self, item: Item) -> Item:
        """Returns rank 0's `item`."""
        if self.size == 1:
            return item
        box = [item]
        _together(distributed.broadcast_object_list, box, src=0)
        return box[0]

    def copy_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrites the tensors by rank 0's."""
        if self.size > 1:
            for tensor in tensors:
                contiguous = tensor.detach().contiguous()
                _together(distributed.broadcast, contiguous, src=0)
                tensor.detach().copy_(contiguous)

    def mesh(self, device: torch.device) -> DeviceMesh:
        """Returns all processes in a row, as what is held in shares is laid out over."""
        return init_device_mesh(device.type, (self.size,))

    def _agreed(self, value: float, how: distributed.ReduceOp.RedOpType) -> float:
        if self.size == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64)
        self._reduce(number, how)
        return float(number)

    def _reduce(self, tensor: torch.Tensor, how: distributed.ReduceOp.RedOpType) -> None:
        _together(distributed.all_reduce, tensor, op=how)


ALONE = World()
"""The world of a run of one process."""


def join_world() -> World:
    """Returns this process's place by the variables that torchrun and `launch` set; alone without them.

    Raises:
        Unfinished: the other processes cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    world = World(
        rank=int(os.environ["RANK"]),
        size=size,
        local_rank=int(os.environ.get("LOCAL_RANK", os.environ["RANK"])),
    )
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _together(distributed.init_process_group, backend, timeout=PATIENCE)
    return world


def leave_world(world: World) -> None:
    """Ends this process's part in the world."""
    if world.size > 1:
        distributed.destroy_process_group()


@contextmanager
def telling_of_lost_processes() -> Iterator[None]:
    """Turns what a collective within says of a lost process into one line; other errors pass.

    Raises:
        Unfinished: another process has ended or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, Unfinished) or not is_of_lost_process(error):
            raise
        raise _lost(error) from error


def is_of_lost_process(error: BaseException) -> bool:
    """Whether a collective says by the error that another process has ended or cannot be reached."""
    return isinstance(error, distributed.DistError) or GLOO in str(error)


def _together(call: Any, *arguments: Any, **named: Any) -> None:
    try:
        call(*arguments, **named)
    except (RuntimeError, ValueError) as error:
        raise _lost(error) from error


def _lost(error: Exception) -> Unfinished:
    detail = str(error).splitlines()[0]
    return Unfinished(
        f"another process of this run has ended or cannot be reached ({detail}); the same command goes on "
        "from the last checkpoint"
    )


def _buckets(gradients: list[torch.Tensor]) -> Iterable[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    numbers = 0
    for gradient in gradients:
        if bucket and numbers + gradient.numel() > BUCKET_NUMBERS:
            yield bucket
            bucket, numbers = [], 0
        bucket.append(gradient)
        numbers += gradient.numel()
    if bucket:
        yield bucket
