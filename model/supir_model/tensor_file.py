"""Named tensors of a checkpoint file, read one at a time and never unpickled as code.

Place in the flow: below `checkpoint.py` and `single_file.py`.
Law: names and shapes are known before a tensor is read; what is read is a copy of its own, and the pages of the file
are given back on the way, so that the memory in use is that of the tensors that were kept.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from supir_model.errors import ModelFileError

SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
MAPPED_BYTES: Final = 64 * 2**20  # read from one mapping of the file before it is given back


class TensorFile:
    """A checkpoint on disk.

    Args:
        path: `.safetensors`, or what torch.save wrote: tensors by name, with or without a `state_dict` level.

    Attributes:
        shapes: shape of every tensor, by name.
        metadata: what the writer of a safetensors file noted beside them.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is no checkpoint, is damaged, or holds pickled code.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path} is no file; give a checkpoint ({', '.join(SUFFIXES)})")
        mapping = self._open()
        self.shapes: dict[str, tuple[int, ...]] = {name: mapping.shape(name) for name in mapping.names}
        self.metadata = mapping.metadata

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Yields each named tensor, a copy on the CPU in the file's precision.

        The copy may be dropped before the next is asked for, which is what keeps the memory low.
        """
        mapping, mapped = self._open(), 0
        for name in names:
            if mapped > MAPPED_BYTES:
                del mapping
                mapping, mapped = self._open(), 0
            tensor = mapping.tensor(name)
            mapped += tensor.nbytes
            yield name, tensor

    def read_all(self) -> Iterator[tuple[str, Tensor]]:
        """Yields every tensor, as `read` does."""
        return self.read(list(self.shapes))

    def _open(self) -> _Safetensors | _Pickle:
        return _Safetensors(self.path) if self.path.suffix == ".safetensors" else _Pickle(self.path)


class _Safetensors:
    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except SafetensorError as error:
            raise ModelFileError(
                f"{path} is no complete safetensors file: {error}; download it again"
            ) from error
        self.names: list[str] = list(self._file.keys())
        self.metadata: dict[str, str] = self._file.metadata() or {}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name).clone()


class _Pickle:
    def __init__(self, path: Path) -> None:
        self._tensors = {key: value for key, value in _unpickled(path).items() if isinstance(value, Tensor)}
        self.names = list(self._tensors)
        self.metadata: dict[str, str] = {}
        if not self.names:
            raise ModelFileError(
                f"{path} holds no named tensors; give a state dict, or a file with a state_dict level"
            )

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name].clone()


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than tensors, which could be code: it is not opened; convert it to safetensors"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise ModelFileError(
            f"{path} is no checkpoint that torch can open: {cause}; download it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    return content if isinstance(content, dict) else {}
