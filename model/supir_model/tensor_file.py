"""Named tensors of a checkpoint file, read one at a time and never unpickled as code.

Place in the flow: below `checkpoint.py` and `single_file.py`.
Law: names and shapes are known before a tensor is read; what is read is a copy of its own, and the pages of the file
are given back on the way, so that the memory in use is that of the tensors that were kept. What a file is, its first
bytes say and not its name.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from supir_model.errors import ModelFileError, first_line

SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
MAPPED_BYTES: Final = 64 * 2**20  # read from one mapping of the file before it is given back
ZIP: Final = b"PK\x03\x04"  # a file of torch.save
PICKLE: Final = b"\x80"  # one of torch before 1.6


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

        Raises:
            ModelFileError: a tensor holds no real numbers, or holds them sparsely.
        """
        mapping, mapped = self._open(), 0
        for name in names:
            if mapping.is_mapped and mapped > MAPPED_BYTES:
                del mapping
                mapping, mapped = self._open(), 0
            tensor = mapping.tensor(name)
            # single integers stand in LoRAs, as alpha
            if tensor.ndim and not (tensor.is_floating_point() and tensor.layout == torch.strided):
                raise ModelFileError(
                    f"{self.path} holds {name} as {tensor.dtype}, {tensor.layout}; give dense floating-point weights"
                )
            mapped += tensor.nbytes
            yield name, tensor

    def read_all(self) -> Iterator[tuple[str, Tensor]]:
        """Yields every tensor, as `read` does."""
        return self.read(list(self.shapes))

    def _open(self) -> _Safetensors | _Pickle:
        with self.path.open("rb") as stream:
            head = stream.read(9)
        if head[8:] == b"{":
            return _Safetensors(self.path)
        if head.startswith((ZIP, PICKLE)):
            # torch maps by name only, and takes this suffix for the other format
            is_mapped = head.startswith(ZIP) and self.path.suffix.lower() != ".safetensors"
            return _Pickle(self.path, is_mapped=is_mapped)
        raise ModelFileError(
            f"{self.path} is no checkpoint: neither safetensors nor a file of torch.save; download it again"
        )


class _Safetensors:
    is_mapped = True

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
    def __init__(self, path: Path, is_mapped: bool) -> None:
        self.is_mapped = is_mapped
        self._tensors = {
            key: value
            for key, value in _unpickled(path, is_mapped).items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
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


def _unpickled(path: Path, is_mapped: bool) -> dict[Any, Any]:
    try:
        with path.open("rb") as stream:
            source = path if is_mapped else stream
            content = torch.load(source, map_location="cpu", mmap=is_mapped, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than tensors, which could be code: it is not opened; convert it to safetensors"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ModelFileError(
            f"{path} is no checkpoint that torch can open: {first_line(error)}; download it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    return content if isinstance(content, dict) else {}
