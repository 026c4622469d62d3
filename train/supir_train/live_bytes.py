"""Bytes of meta tensors that are in use at a time, operation by operation.

Place in the flow: `footprint.py` runs a phase under it. The law it keeps: a storage counts once, from the operation
that makes it until its last user lets go.

What an operation makes of meta tensors depends on their shapes alone, and torch works it out in Python. A network of
SDXL's size repeats the same few hundred operations fifty thousand times, so each is worked out once.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Of a tensor that fills a storage of its own."""
Results = dict[Hashable, tuple[bool, tuple[Layout | None, ...]] | None]
"""By operation and arguments: whether it returns several tensors, and their layouts; None where they are to be made by
the operation itself."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of meta storages that were made under it and still have a user, and their highest sum.

    Args:
        held: tensors that are not to be counted, nor their views.
        results: what operations were found to make; is added to.
    """

    def __init__(self, held: Iterable[torch.Tensor], results: Results | None = None) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in held}
        self._results: Results = {} if results is None else results

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under this mode; keeping the compiler away from it costs a fifth of the time."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = self._result(func, args, kwargs or {})
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.device.type == "meta":
                self._count(value.untyped_storage())
        return result

    def _result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            key = (
                func,
                *map(_signature, args),
                *((name, _signature(value)) for name, value in kwargs.items()),
            )
            known = self._results.get(key)
        except TypeError:  # an argument that is no key
            return func(*args, **kwargs)
        if known is not None:
            is_several, layouts = known
            made = tuple(layout and _empty(layout) for layout in layouts)
            return made if is_several else made[0]
        result = func(*args, **kwargs)
        if key not in self._results:
            self._results[key] = _remembered((*args, *kwargs.values()), result)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address in self._sizes:
            return
        self._sizes[address] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address)

    def _forget(self, address: int) -> None:
        self.now -= self._sizes.pop(address)


def _signature(value: Any) -> Hashable:
    """What an operation's result depends on, of one of its arguments."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "meta":
            raise TypeError("numbers may decide upon the result")
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_signature, value))
    return type(value), value


def _remembered(args: tuple[Any, ...], result: Any) -> tuple[bool, tuple[Layout | None, ...]] | None:
    """What to make in the place of `result` another time; None where it is not made of new storages alone."""
    is_several = isinstance(result, tuple | list)
    values = tuple(result) if is_several else (result,)
    taken = {tensor.untyped_storage()._cdata for tensor in _tensors(args)}
    layouts: list[Layout | None] = []
    for value in values:
        if value is None:
            layouts.append(None)
            continue
        if not isinstance(value, torch.Tensor) or value.device.type != "meta":
            return None
        storage = value.untyped_storage()
        if storage._cdata in taken or storage.nbytes() != value.numel() * value.element_size():
            return None
        taken.add(storage._cdata)
        layouts.append((value.shape, value.stride(), value.dtype))
    return is_several, tuple(layouts)


def _tensors(values: Iterable[Any]) -> Iterable[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _empty(layout: Layout) -> torch.Tensor:
    size, stride, dtype = layout
    return torch.empty_strided(size, stride, dtype=dtype, device="meta")
