"""Convolutions over a stream of rows: each layer keeps the last rows it saw, as a camera's line buffer does.

Place in the flow: `kl_strips` and `mini_strips` build their networks from these. A stream is an iterator of
strips, (1, C, rows, W), that follow one another from the top of a map to its bottom; a strip has any number of rows.
The law it keeps: what comes out is what the layer makes of the whole map; no row is computed twice, and between two
strips a layer holds the rows of its kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, starmap
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from supir_infer.interrupt import stop_here

Rows = Iterator[Tensor]
Made = TypeVar("Made")
UNEQUAL = "two maps of different heights"


def split_rows(whole: Tensor, rows: int) -> Rows:
    """Yields the map (1, C, H, W) in strips of `rows` rows, the last one shorter; views of it."""
    for top in range(0, whole.shape[2], rows):
        yield whole[:, :, top : top + rows]


def joined_rows(strips: Rows, height: int) -> Tensor:
    """Returns the map (1, C, height, W) of a stream, written into one piece of memory."""
    whole, top = torch.empty(0), 0
    for strip in strips:
        if top == 0:
            whole = strip.new_empty((*strip.shape[:2], height, strip.shape[3]))
        whole[:, :, top : top + strip.shape[2]] = strip
        top += strip.shape[2]
    assert top == height, f"the stream had {top} rows of {height}"
    return whole


def convolve(strips: Rows, conv: nn.Conv2d, pads: tuple[int, int] | None = None) -> Rows:
    """Yields the rows of conv(map), about as many at a time as come in.

    Args:
        strips: the map.
        conv: of any kernel and stride.
        pads: zeros before the first and after the last row and column; None for those of the layer, a kernel's half.
    """
    half = conv.kernel_size[0] // 2
    return _passed(strips, _LineBuffer(conv, *(pads or (half, half))))


def aligned(first: Rows, second: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields strips of the same rows of two maps, cut as the first is.

    Cut where either is cut they would fall into ever smaller pieces from one residual block to the next.
    """
    return _passed(first, _Cutter(second))


def add(first: Rows, second: Rows) -> Rows:
    """Yields the sum of two maps."""
    return starmap(torch.add, aligned(first, second))


def forked(strips: Rows) -> tuple[Rows, Rows]:
    """Returns the stream twice; a strip is held until both were asked for it (by `itertools.tee` 57 strips longer)."""
    left: deque[Tensor] = deque()
    right: deque[Tensor] = deque()

    def taken(own: deque[Tensor], other: deque[Tensor]) -> Rows:
        while own or _fed(strips, own, other):
            yield own.popleft()

    return taken(left, right), taken(right, left)


def residual(strips: Rows, first: nn.Conv2d, second: nn.Conv2d) -> Rows:
    """Yields map + second(silu(first(silu(map))))."""
    kept, taken = forked(strips)
    inner = convolve(map(functional.silu, taken), first)
    return add(convolve(map(functional.silu, inner), second), kept)


def _fed(strips: Rows, *queues: deque[Tensor]) -> bool:
    strip = next(strips, None)
    if strip is None:
        return False
    for queue in queues:
        queue.append(strip)
    return True


def _passed(strips: Rows, layer: Callable[[Tensor | None], Made | None]) -> Iterator[Made]:
    """What a layer makes of each strip and, told by None, of the end, where it makes something.

    No generator: that would hold what it yielded until it is asked again, and a network has many layers.
    """
    return cast("Iterator[Made]", filter(_is_there, map(layer, chain(strips, (None,)))))


def _is_there(made: object) -> bool:
    return made is not None


class _LineBuffer:
    """A convolution with the rows that it will need again."""

    def __init__(self, conv: nn.Conv2d, before: int, after: int) -> None:
        self._conv, self._before, self._after = conv, before, after
        self._held: Tensor | None = None
        self._enough = 0

    def __call__(self, strip: Tensor | None) -> Tensor | None:
        """Returns the rows for which all is there now; None where these are none or too few to be worth a call.

        Waiting for half a strip keeps the row or two that each layer has left at the end from going through all
        later layers by themselves.
        """
        stop_here()
        if strip is None:
            if self._held is None:
                return None
            return self._convolved(functional.pad(self._held, (0, 0, 0, self._after)))
        self._enough = max(self._enough, strip.shape[2] // 2)
        if self._held is None:
            held = functional.pad(strip, (0, 0, self._before, 0))
        else:
            held = torch.cat([self._held, strip], dim=2)
        self._held = held
        return self._convolved(held) if held.shape[2] >= self._enough else None

    def _convolved(self, rows: Tensor) -> Tensor | None:
        """The result as far as the rows go; keeps those that the next ones need."""
        conv, before, after = self._conv, self._before, self._after
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        count = (rows.shape[2] - kernel) // stride + 1
        if count <= 0:
            return None
        self._held = _kept(rows, count * stride)
        rows = rows[:, :, : (count - 1) * stride + kernel]
        if before == after:
            return functional.conv2d(
                rows, conv.weight, conv.bias, conv.stride, (0, before), groups=conv.groups
            )
        rows = functional.pad(rows, (before, after, 0, 0))
        return functional.conv2d(rows, conv.weight, conv.bias, conv.stride, groups=conv.groups)


class _Cutter:
    """A second map, cut as the strips of a first one are."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._held = rows, torch.empty(0)

    def __call__(self, strip: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Returns the strip and the same rows of the other map."""
        if strip is None:
            assert not self._held.numel(), UNEQUAL
            assert next(self._rows, None) is None, UNEQUAL
            return None
        count = strip.shape[2]
        parts = [self._held] if self._held.numel() else []
        while sum(part.shape[2] for part in parts) < count:
            part = next(self._rows, None)
            assert part is not None, UNEQUAL
            parts.append(part)
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        self._held = _kept(whole, count)
        return strip, whole[:, :, :count]


def _kept(strip: Tensor, top: int) -> Tensor:
    """The rows from `top` on, as a copy: a view would hold the whole strip."""
    return strip[:, :, top:].clone(memory_format=torch.preserve_format)
