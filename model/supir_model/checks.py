"""What a caller of `Supir` can get wrong, said before a matrix multiplication says it in its own words.

Place in the flow: the first lines of `Supir`'s public methods.
Law: a message is built only after its check failed; no check reads a tensor's values.
"""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE_MULTIPLE = 8


def require_image(image: Tensor) -> None:
    """Refuses what is no (B, 3, H, W) batch with sides that the VAE can divide by 8.

    Raises:
        ValueError: names the shape seen.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image has shape {list(image.shape)}; (B, 3, H, W) in [-1, 1] is needed")
    height, width = image.shape[-2:]
    if height % IMAGE_MULTIPLE or width % IMAGE_MULTIPLE:
        raise ValueError(
            f"image of {height}x{width} px: both sides must be multiples of {IMAGE_MULTIPLE} (of 32 for good results);"
            " resize it first"
        )


def require_latent(name: str, latent: Tensor, channels: int, device: torch.device) -> None:
    """Refuses what is no (B, C, h, w) latent of this model on its device.

    Raises:
        ValueError: names the shape or the devices seen.
    """
    if latent.ndim != 4 or latent.shape[1] != channels:
        raise ValueError(
            f"{name} has shape {list(latent.shape)}; (B, {channels}, h, w) is needed, as Supir.encode_lq gives it"
        )
    if latent.device != device:
        raise ValueError(
            f"{name} is on {latent.device}, the model on {device}; move it with .to(supir.device)"
        )


def require_text(context: Tensor, pooled: Tensor, time_ids: Tensor, width: int) -> None:
    """Refuses text that another model encoded, or a size vector for another number of prompts.

    Raises:
        ValueError: names the sizes seen.
    """
    if context.shape[-1] != width:
        raise ValueError(
            f"the text is {context.shape[-1]} wide, this UNet reads {width}; encode the prompts with this model's"
            " encode_prompt"
        )
    if not len(context) == len(pooled) == len(time_ids):
        raise ValueError(
            f"{len(context)} contexts, {len(pooled)} pooled texts and {len(time_ids)} size vectors; as many of each are"
            " needed"
        )


def require_prompts(num_prompts: int, num_latents: int) -> None:
    """Refuses a number of prompts that is no multiple of the number of latents.

    Raises:
        ValueError: names both numbers.
    """
    if num_prompts % num_latents:
        raise ValueError(
            f"{num_prompts} prompts for {num_latents} latents; give one prompt, or k, to each latent"
        )
