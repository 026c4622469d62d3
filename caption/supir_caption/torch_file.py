"""The tensors of a torch file as NumPy arrays, without torch, which costs a process 450 MB.

Place in the flow: `mobilenet` reads its weights here. Both forms are known: a zip archive, as torch writes today, and
the row of pickles with the numbers behind, as it wrote before version 1.6. The law: a file cannot run code, since its
pickles may name the parts of a tensor and nothing else.

Source: `torch/serialization.py`, `_legacy_save` and `_save`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers that lie elsewhere in the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a state dict by name.

    Args:
        path: what `torch.save(module.state_dict())` wrote: float32 and int64, contiguous.

    Raises:
        ValueError: it is no such file, or a damaged one.
        OSError: it cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _from_archive(archive)
        with path.open("rb") as stream:
            return _from_pickles(stream)
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no torch file of a state dict ({type(error).__name__}: {error})"
        ) from error


def _from_archive(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    folder = archive.namelist()[0].split("/")[0]
    with archive.open(f"{folder}/data.pkl") as stream:
        state = _TensorsOnly(stream).load()
    return {
        name: _filled(tensor, archive.read(f"{folder}/data/{tensor.storage.key}"))
        for name, tensor in state.items()
    }


def _from_pickles(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    magic, _version, _system = (_TensorsOnly(stream).load() for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise ValueError("it does not begin as a torch file does")
    state = _TensorsOnly(stream).load()
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    numbers: dict[str, bytes] = {}
    for key in _TensorsOnly(stream).load():
        count = int.from_bytes(stream.read(8), "little")
        if count != storages[key].count:
            raise ValueError(f"storage {key} holds {count} numbers, {storages[key].count} are declared")
        numbers[key] = stream.read(count * storages[key].dtype.itemsize)
    return {name: _filled(tensor, numbers[tensor.storage.key]) for name, tensor in state.items()}


def _filled(tensor: _Tensor, data: bytes) -> NDArray[Any]:
    flat = np.frombuffer(data, tensor.storage.dtype)
    count = int(np.prod(tensor.shape, dtype=np.int64))
    strides = np.empty(tensor.shape, np.uint8).strides
    if strides != tensor.stride and count > 1:
        raise ValueError(f"a tensor of shape {tensor.shape} is not contiguous")
    return flat[tensor.offset :][:count].reshape(tensor.shape)


class _TensorsOnly(pickle.Unpickler):
    """Reads what a state dict is made of; any other name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"{kind!r} is no storage of numbers")
        return _Storage(str(key), dtype, int(count))


def _tensor(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(shape), tuple(stride))
