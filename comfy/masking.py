"""What is transparent of a batch: ComfyUI's masks, where 1 is transparent, and the colours below it.

Place in the flow: `restoring` takes pictures apart here before the network, and gives the mask back at their new size.
The law it keeps, as `supir_infer.transparency`: what nobody sees does not leak into what everybody does.
Source: docs.comfy.org, "Images, Latents, and Masks": a MASK is (B, H, W) or (H, W), `Load Image` gives 1 - alpha, and
zeros of (1, 64, 64) for a picture without alpha.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from supir_infer.images import resize
from supir_infer.transparency import fill_hidden

FloatArray = npt.NDArray[np.float32]


def taken_apart(image: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[FloatArray, FloatArray]]:
    """Returns colours (H, W, 3) and alpha (H, W) of each picture, in 0..1; hidden colours are those from around.

    Args:
        image: (B, H, W, 3), or (B, H, W, 4) with alpha, in 0..1.
        mask: (B, h, w), (1, h, w) or (h, w), 1 where a picture is transparent; None for none.

    Raises:
        ValueError: neither one mask nor one a picture.
    """
    pixels = image.clamp(0, 1).float().cpu()
    alpha = pixels[..., 3] if pixels.shape[-1] == 4 else torch.ones(pixels.shape[:3])
    if mask is not None:
        alpha = alpha * (1 - _fitted(mask, pixels))
    pairs = zip(pixels[..., :3].numpy(), alpha.numpy(), strict=True)
    return [(fill_hidden(rgb, alpha), alpha) for rgb, alpha in pairs]


def mask_of(alphas: list[FloatArray], size: tuple[int, int]) -> torch.Tensor:
    """Returns the mask of results of (width, height) px, (B, height, width) in 0..1."""
    return torch.from_numpy(np.stack([1 - resize(alpha, size) for alpha in alphas]))


def _fitted(mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """The masks of a batch at its size, (B, H, W)."""
    masks = mask.clamp(0, 1).float().cpu().reshape(-1, *mask.shape[-2:])
    if len(masks) not in (1, len(pixels)):
        raise ValueError(f"{len(masks)} masks for {len(pixels)} pictures; give one for all, or one a picture")
    size = (pixels.shape[1], pixels.shape[2])
    sized = (
        masks
        if masks.shape[1:] == size
        else functional.interpolate(masks[:, None], size, mode="bilinear")[:, 0]
    )
    return sized.expand(len(pixels), *size)
