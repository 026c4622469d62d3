"""Networks over many pictures at once, with answers that no company changes.

Place in the flow: the torch scorers run their pictures through here. The law: on a CPU each picture runs alone; on a
GPU every batch has the same size, filled up with grey, since a kernel is chosen by the shape and a picture's row of the
result then depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def run_network(
    forward: Callable[[torch.Tensor], torch.Tensor],
    inputs: Sequence[torch.Tensor],
    device: str,
    batch_images: int,
) -> NDArray[np.float32]:
    """Returns one row a picture, (N, D) float32.

    Args:
        forward: takes (B, C, H, W) on the device, gives (B, D).
        inputs: (C, H, W) float32, all of one shape, on the CPU.
        device: "cpu" or "cuda".
        batch_images: pictures of a GPU's batch.
    """
    import torch

    size = 1 if device == "cpu" else batch_images
    rows = []
    with torch.inference_mode():
        for begin in range(0, len(inputs), size):
            batch = torch.stack(list(inputs[begin : begin + size]))
            count = len(batch)
            if count < size:
                batch = torch.cat([batch, batch.new_zeros((size - count, *batch.shape[1:]))])
            rows.append(forward(batch.to(device)).float().cpu().numpy()[:count])
    return np.concatenate(rows)
