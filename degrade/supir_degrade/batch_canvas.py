"""Images of several sizes in one tensor, and weighted sums of their rows or columns, which every batched filter is.

Place in the flow: `batch_filters` and `batch_jpeg` put a group of images on one canvas, work on it in a few calls,
and cut the results out. The law it keeps: a pixel's sum runs over its own taps in their order, so that it has the
same bits in any batch; what lies outside of an image on the canvas is never weighed.

Legend: B images, C channels, (H, W) the canvas, N results along an axis, K taps each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from supir_degrade.sampling import Size

ROWS, COLUMNS = 2, 3
"""The axes of a canvas that `mix` works along."""


def sizes_of(images: Sequence[torch.Tensor]) -> list[Size]:
    """Returns (height, width) of each image, px."""
    return [(int(image.shape[-2]), int(image.shape[-1])) for image in images]


def on_canvas(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns float32 (B, C, H, W), each image in the upper left corner of the smallest canvas that holds all."""
    height, width = (max(side) for side in zip(*sizes_of(images), strict=True))
    canvas = images[0].new_zeros((len(images), images[0].shape[0], height, width))
    for place, image in zip(canvas, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return canvas


def cut_out(canvas: torch.Tensor, sizes: Sequence[Size]) -> list[torch.Tensor]:
    """Returns the images (C, h, w) of these sizes, as views of the canvas."""
    return [place[:, :height, :width] for place, (height, width) in zip(canvas, sizes, strict=True)]


def lengths(sizes: Sequence[Size], axis: int, device: torch.device) -> torch.Tensor:
    """Returns int64 (B, 1, 1): each image's length along ROWS or COLUMNS, px."""
    values = [size[axis - ROWS] for size in sizes]
    return moved(torch.tensor(values), device).view(-1, 1, 1)


def moved(numbers: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Returns the numbers on the device; the host does not wait for what is queued there."""
    return (numbers.pin_memory() if device.type == "cuda" else numbers).to(device, non_blocking=True)


def stacked(arrays: Sequence[NDArray[Any]], device: torch.device) -> torch.Tensor:
    """Returns (B, N, K) on the device: the arrays (n, k), each filled up with zeros."""
    num_rows, num_columns = (max(side) for side in zip(*(array.shape for array in arrays), strict=True))
    filled = np.zeros((len(arrays), num_rows, num_columns), arrays[0].dtype)
    for place, array in zip(filled, arrays, strict=True):
        place[: array.shape[0], : array.shape[1]] = array
    return moved(torch.from_numpy(filled), device)


def mix(canvas: torch.Tensor, index: torch.Tensor, weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Returns (B, C, N, W) or (B, C, H, N): every row (or column) a weighted sum of rows (or columns).

    Args:
        canvas: float32 (B, C, H, W).
        index: int64 (B, N, K), which ones.
        weight: float32 (B, N, K) or smaller where it broadcasts, how much of them.
        axis: ROWS or COLUMNS.
    """
    lines = canvas.movedim(axis, 1)
    first = torch.arange(len(lines), device=canvas.device).view(-1, 1, 1) * lines.shape[1]
    mixed = functional.embedding_bag(
        (index + first).flatten(0, 1),
        # a batch of one may be a view of other strides, which embedding_bag sums in another order
        lines.reshape(lines.shape[0] * lines.shape[1], -1).contiguous(),
        per_sample_weights=weight.expand_as(index).flatten(0, 1),
        mode="sum",
    )
    return mixed.view(*index.shape[:2], *lines.shape[2:]).movedim(1, axis)


def picked(canvas: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    """Returns the rows or columns (B, N, 1) of the canvas."""
    return mix(canvas, index, canvas.new_ones(1), axis)


def mirrored(position: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Returns positions within 0..length - 1, the border mirrored without repeating its edge."""
    period = (2 * length - 2).clamp(min=1)
    position = position.remainder(period)
    return torch.minimum(position, period - position).clamp(min=0).minimum(length - 1)
