"""CHECKPOINT/shares/: the tensors of a run with `shard: full`, each process's share in a file of its own.

    shard-00001-….safetensors   of the first process: its rows of model.NAME, ema.NAME and optimizer.INDEX.MOMENT, with
                                where each begins

Place in the flow: `checkpoint.py` puts the folder beside its `state.json`. The laws it keeps: what is written by one
number of processes is read by any other, or as a whole by one alone; reading runs no code, as safetensors hold none.
Source: `torch.distributed.checkpoint` with its safetensors storage; all processes must see one file system.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from supir_train.world import is_of_lost_process

Moments = dict[int, dict[str, torch.Tensor]]
"""An optimizer's state, by the parameter's place among the trained ones."""


def write_shares(
    folder: Path, model: Mapping[str, torch.Tensor], ema: Mapping[str, torch.Tensor], moments: Moments
) -> None:
    """Writes this process's shares; to be called by all of them.

    Args:
        folder: empty or not there, the same for all.
        model, ema: by name.
        moments: of the optimizer.

    Raises:
        OSError: a process could not write, on all of them.
    """
    tensors = _flat(model, ema, moments)
    with _failures_as(OSError, f"{folder} could not be written"):
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def read_shares(
    folder: Path, parameters: Mapping[str, nn.Parameter], ema: Mapping[str, torch.Tensor]
) -> Moments:
    """Overwrites parameters and averages by this process's shares; returns its shares of the moments.

    To be called by all processes, of which there may be more or fewer than wrote.

    Args:
        parameters: by name, in the order in which the optimizer has them.
        ema: by name.

    Raises:
        RuntimeError: a share is damaged or of another network.
    """
    listed = list(parameters.values())
    moments: Moments = {}
    for key, stored in _stored(folder).items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            parameter = listed[int(index)].detach()
            like = stored.size == parameter.shape
            moment = torch.zeros_like(parameter) if like else torch.zeros(stored.size)
            moments.setdefault(int(index), {})[name] = moment
    tensors = _flat(parameters, ema, moments)
    with _failures_as(RuntimeError, f"{folder} could not be read"):
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    return moments


def read_whole(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Moments]:
    """Returns model, averages and moments as a whole, on the CPU; other processes are not asked.

    Raises:
        RuntimeError: a share is damaged or missing.
    """
    tensors = {
        key: torch.empty(stored.size, dtype=stored.properties.dtype)
        for key, stored in _stored(folder).items()
    }
    with _failures_as(RuntimeError, f"{folder} could not be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is meant: one process alone
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    model = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    ema = {key.removeprefix("ema."): value for key, value in tensors.items() if key.startswith("ema.")}
    moments: Moments = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
    return model, ema, moments


def _flat(
    model: Mapping[str, torch.Tensor], ema: Mapping[str, torch.Tensor], moments: Moments
) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": value.detach() for name, value in model.items()}
    tensors |= {f"ema.{name}": value for name, value in ema.items()}
    for index, held in moments.items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in held.items()}
    return tensors


def _stored(folder: Path) -> dict[str, TensorStorageMetadata]:
    stored: dict[str, Any] = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return stored


@contextmanager
def _failures_as(kind: type[Exception], what: str) -> Iterator[None]:
    """Turns what the library gathers from all processes into one line."""
    try:
        yield
    except CheckpointException as error:
        rank, (first, _) = next(iter(error.failures.items()))
        if is_of_lost_process(first):
            raise first from error
        raise kind(f"{what} by process {rank}: {first}") from error
