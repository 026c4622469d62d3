"""Replays the traces of a whole batch on any device: many pictures a call, every one with its own parameters.

Place in the flow: `draw` makes one trace a sample, as for `pipeline.replay`; `replay_batch` applies them. The law it
keeps: a sample's result depends on its picture, its trace and the kind of device alone, and not on the batch that it
stands in. Noise has the bits of the device, JPEG those of libjpeg; all else equals `replay` but for float32's rounding.

Samples go through their own lists of operations. In each round those that wait for the same operation run as one
call; what has no batched form (WebP, AVIF, camera noise, ...) runs one by one on the CPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import torch

from supir_console import UserError
from supir_degrade import batch_filters, batch_jpeg, batch_noise
from supir_degrade import trace as ops
from supir_degrade.filters import as_lines, without_empty_rims
from supir_degrade.kernels import kernel_of
from supir_degrade.pipeline import apply_op, require_end_size
from supir_degrade.trace import Op, Subsampling, Trace

Images = list[torch.Tensor]
Call = Callable[[Images, list[Any]], Images]
"""Images (3, h, w) of any sizes and an argument for each, to their results in the same order."""

JPEGS: dict[str, Call] = {kind: partial(batch_jpeg.jpeg, subsampling=kind) for kind in get_args(Subsampling)}


@torch.no_grad()
def replay_batch(images: torch.Tensor, traces: Sequence[Trace]) -> torch.Tensor:
    """Returns the images after their own traces: uint8 (B, 3, H, W), on the same device and laid out as given.

    Args:
        images: uint8 (B, 3, H, W) RGB, on any device with float64.
        traces: B of them, drawn for (H, W).

    Raises:
        UserError: number, size or type of the images is not what the traces need.
    """
    _check(images, traces)
    values = list(images.float() / 255)
    waiting = [deque(batched_call(op) for op in trace.ops) for trace in traces]
    while any(waiting):
        call, members = _next_group(values, waiting)
        arguments = [waiting[number].popleft()[1] for number in members]
        results = call([values[number] for number in members], arguments)
        for number, result in zip(members, results, strict=True):
            values[number] = result
    degraded = torch.empty_like(images)
    for place, image in zip(degraded, values, strict=True):
        place.copy_(image.clamp(0, 1).mul_(255).round_())
    return degraded


def _next_group(values: Images, waiting: Sequence[deque[tuple[Call, Any]]]) -> tuple[Call, list[int]]:
    """The call of the sample that has most left to do, and all samples of about its size that wait for it too.

    The others wait until it has caught up, which makes the groups large. Sizes are told apart by their power of
    two, so that a canvas is never much larger than what lies on it.
    """

    def group(number: int) -> tuple[Call, int]:
        return waiting[number][0][0], max(values[number].shape).bit_length()

    last = group(max(range(len(waiting)), key=lambda number: len(waiting[number])))
    return last[0], [number for number, left in enumerate(waiting) if left and group(number) == last]


def batched_call(op: Op) -> tuple[Call, Any]:
    """Returns the batched call for an operation, and the argument of this sample."""
    match op:
        case ops.Blur() | ops.Sinc() | ops.Defocus() | ops.Motion():
            kernel = without_empty_rims(kernel_of(op))
            lines = as_lines(kernel)
            return (batch_filters.convolve_lines, lines) if lines else (batch_filters.convolve, kernel)
        case ops.Resize():
            return batch_filters.resize, op
        case ops.GaussianNoise():
            return batch_noise.add_gaussian_noise, op
        case ops.PoissonNoise():
            return batch_noise.add_poisson_noise, op
        case ops.Sharpen():
            return batch_filters.unsharp_mask, op
        case ops.Jpeg():
            return JPEGS[op.subsampling], op.quality
        case _:
            return _on_cpu, op


def _on_cpu(images: Images, arguments: list[Op]) -> Images:
    results = []
    for image, op in zip(images, arguments, strict=True):
        rendered = torch.from_numpy(apply_op(image.permute(1, 2, 0).cpu().contiguous().numpy(), op))
        results.append(rendered.to(image.device).permute(2, 0, 1))
    return results


def _check(images: torch.Tensor, traces: Sequence[Trace]) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"images are {images.dtype} {tuple(images.shape)}; give torch.uint8 (B, 3, H, W)")
    if len(traces) != len(images):
        raise UserError(f"{len(traces)} traces for {len(images)} images; give one trace an image")
    for number, trace in enumerate(traces):
        require_end_size(trace)
        if (trace.height, trace.width) != tuple(images.shape[2:]):
            raise UserError(
                f"trace {number} was drawn for {trace.height} x {trace.width} px, the images are "
                f"{images.shape[2]} x {images.shape[3]}; draw it for the size of the crops"
            )
