"""Blur, unsharp mask and resampling of many images at once, each with its own kernel, numbers and size.

Place in the flow: called by `batch` with groups of samples; the twins of `filters`, which they equal but for the
rounding of float32. Images are float32 (3, h, w), 0 to 1, of any sizes; results come in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from supir_degrade.batch_canvas import (
    COLUMNS,
    ROWS,
    cut_out,
    lengths,
    mirrored,
    mix,
    moved,
    on_canvas,
    picked,
    sizes_of,
    stacked,
)
from supir_degrade.sampling import Size, taps
from supir_degrade.trace import Resize, Sharpen

Images = Sequence[torch.Tensor]
Line = NDArray[np.floating]


def convolve_lines(images: Images, lines: Sequence[tuple[Line, Line]]) -> list[torch.Tensor]:
    """Returns each image correlated with the product of its own column and row, the border mirrored.

    Args:
        images: float32 (3, h, w) each.
        lines: of each image the column and the row, (k,), k odd.
    """
    sizes = sizes_of(images)
    return cut_out(_through_lines(on_canvas(images), sizes, lines), sizes)


def convolve(images: Images, kernels: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
    """Returns each image correlated with its own kernel, the border mirrored without repeating its edge.

    Args:
        images: float32 (3, h, w) each.
        kernels: float32 (k, k) each, k odd.
    """
    sizes, canvas = sizes_of(images), on_canvas(images)
    reach = max(len(kernel) for kernel in kernels) // 2
    for axis in (ROWS, COLUMNS):
        position = torch.arange(-reach, canvas.shape[axis] + reach, device=canvas.device).view(1, -1, 1)
        canvas = picked(canvas, mirrored(position, lengths(sizes, axis, canvas.device)), axis)
    centred = np.stack([np.pad(kernel, reach - len(kernel) // 2) for kernel in kernels])
    weight = moved(torch.from_numpy(centred), canvas.device).repeat_interleave(3, dim=0)[:, None]
    # A channel is a group of its own, so that each picture meets its own kernel in one call.
    blurred = functional.conv2d(canvas.flatten(0, 1)[None], weight, groups=len(weight))
    return cut_out(blurred.view(len(images), 3, *blurred.shape[2:]), sizes)


def unsharp_mask(images: Images, ops: Sequence[Sharpen]) -> list[torch.Tensor]:
    """Returns each image with its own share of its high frequencies added, see `filters.unsharp_mask`."""
    sizes, canvas = sizes_of(images), on_canvas(images)
    gaussians = [cv2.getGaussianKernel(2 * op.radius_px + 1, 0).ravel() for op in ops]
    lines = [(gaussian, gaussian) for gaussian in gaussians]
    weight, threshold = (
        moved(torch.tensor(numbers, dtype=torch.float32), canvas.device).view(-1, 1, 1, 1)
        for numbers in ([op.weight for op in ops], [op.threshold for op in ops])
    )
    residual = canvas - _through_lines(canvas, sizes, lines)
    mask = _through_lines((residual.abs() * 255 > threshold).float(), sizes, lines)
    sharp = (canvas + weight * residual).clamp(0, 1)
    return cut_out(canvas + mask * (sharp - canvas), sizes)


def resize(images: Images, ops: Sequence[Resize]) -> list[torch.Tensor]:
    """Returns each image at its own (height, width), px, with its own interpolation, see `filters.resize`."""
    targets = [(op.height, op.width) for op in ops]
    sizes, canvas = sizes_of(images), on_canvas(images)
    found = [
        taps(size, target, op.interpolation) for size, target, op in zip(sizes, targets, ops, strict=True)
    ]
    for axis in (ROWS, COLUMNS):
        index, weight = zip(*(of_axes[axis - ROWS] for of_axes in found), strict=True)
        canvas = mix(canvas, stacked(index, canvas.device), stacked(weight, canvas.device), axis)
    return cut_out(canvas, targets)


def _through_lines(
    canvas: torch.Tensor, sizes: Sequence[Size], lines: Sequence[tuple[Line, Line]]
) -> torch.Tensor:
    for axis, kernels in zip((ROWS, COLUMNS), zip(*lines, strict=True), strict=True):
        reach = max(len(kernel) for kernel in kernels) // 2
        centred = np.stack([np.pad(kernel, reach - len(kernel) // 2) for kernel in kernels])
        weight = moved(torch.from_numpy(centred.astype(np.float32)), canvas.device)[:, None]
        tap = torch.arange(-reach, reach + 1, device=canvas.device)
        position = torch.arange(canvas.shape[axis], device=canvas.device)[:, None] + tap
        canvas = mix(canvas, mirrored(position, lengths(sizes, axis, canvas.device)), weight, axis)
    return canvas
