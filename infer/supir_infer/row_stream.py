"""Convolutions over a stream of rows: each layer keeps the last rows it saw, as a camera's line buffer does.

Place in the flow: `kl_strips` and `mini_strips` build their networks from these. A stream is an iterator of
strips, (1, C, rows, W), that follow one another from the top of a map to its bottom; a strip has any number of rows.
The law it keeps: what comes out is what the layer makes of the whole map; no row is computed twice, and a layer holds
no more than a strip and the rows of its kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee

import torch
from torch import Tensor, nn
from torch.nn import functional

from supir_infer.interrupt import stop_here

Rows = Iterator[Tensor]


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
    """Yields the rows of conv(map), as soon as those that they need are there.

    Args:
        strips: the map.
        conv: of any kernel and stride.
        pads: zeros before the first and after the last row and column; None for those of the layer, a kernel's half.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    before, after = pads or (kernel // 2, kernel // 2)
    held: Tensor | None = None
    for strip in strips:
        stop_here()
        if held is None:
            held = strip.new_zeros((*strip.shape[:2], before, strip.shape[3]))
        held = torch.cat([held, strip], dim=2) if held.shape[2] else strip
        del strip  # a stream that waits holds what it needs later, and no more
        held, ready = _ready(held, kernel, stride)
        if ready is not None:
            yield _convolved(ready, conv, before, after)
    if held is not None and after:
        held = torch.cat([held, held.new_zeros((*held.shape[:2], after, held.shape[3]))], dim=2)
        _, ready = _ready(held, kernel, stride)
        if ready is not None:
            yield _convolved(ready, conv, before, after)


def aligned(first: Rows, second: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields strips of the same rows of two maps whose streams may be cut elsewhere."""
    left: Tensor | None = None
    right: Tensor | None = None
    while True:
        left = next(first, None) if left is None else left
        right = next(second, None) if right is None else right
        if left is None or right is None:
            assert left is right, "two maps of different heights"
            return
        rows = min(left.shape[2], right.shape[2])
        pair = left[:, :, :rows], right[:, :, :rows]
        left = left[:, :, rows:] if left.shape[2] > rows else None
        right = right[:, :, rows:] if right.shape[2] > rows else None
        yield pair
        del pair


def add(first: Rows, second: Rows) -> Rows:
    """Yields the sum of two maps."""
    return (left + right for left, right in aligned(first, second))


def residual(strips: Rows, first: nn.Conv2d, second: nn.Conv2d) -> Rows:
    """Yields map + second(silu(first(silu(map))))."""
    kept, taken = tee(strips)
    inner = convolve(map(functional.silu, taken), first)
    return add(convolve(map(functional.silu, inner), second), kept)


def _ready(held: Tensor, kernel: int, stride: int) -> tuple[Tensor, Tensor | None]:
    """What is to be kept of the rows, and those that give whole rows of the result; None where there are none yet."""
    count = (held.shape[2] - kernel) // stride + 1
    if count <= 0:
        return held, None
    used = held[:, :, : (count - 1) * stride + kernel]
    # a copy: a view would hold the whole strip
    return held[:, :, count * stride :].clone(memory_format=torch.preserve_format), used


def _convolved(rows: Tensor, conv: nn.Conv2d, before: int, after: int) -> Tensor:
    if before == after:
        return functional.conv2d(rows, conv.weight, conv.bias, conv.stride, (0, before), groups=conv.groups)
    rows = functional.pad(rows, (before, after, 0, 0))
    return functional.conv2d(rows, conv.weight, conv.bias, conv.stride, groups=conv.groups)
