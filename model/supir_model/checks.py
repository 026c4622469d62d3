"""What a caller of `Supir` can get wrong, said before a matrix multiplication says it in its own words.

Place in the flow: the first lines of `Supir`'s public methods.
Law: a message is built only after its check failed; no check reads a tensor's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from supir_model.text import TextConditioning

IMAGE_MULTIPLE = 8
SIZES = 6  # numbers in SDXL's size vector


def require_image(image: Tensor) -> None:
    """Refuses what is no (B, 3, H, W) batch with sides that the VAE can divide by 8.

    Raises:
        ValueError: names the shape seen.
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(
            f"image has shape {list(image.shape)}, {image.dtype}; (B, 3, H, W), floating, in [-1, 1] is needed"
        )
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


def require_same_size(hint: Tensor, x_in: Tensor) -> None:
    """Refuses an LQ latent for other noisy latents: another number, or another size.

    Raises:
        ValueError: names both.
    """
    ours, theirs = [list(tensor.shape[:1] + tensor.shape[-2:]) for tensor in (hint, x_in)]
    if ours != theirs:
        raise ValueError(
            f"z_lq and the noisy latent differ, (B, h, w) {ours} and {theirs}; encode the same pictures"
        )


def require_text(text: TextConditioning, time_ids: Tensor, config: Mapping[str, Any]) -> None:
    """Refuses text that another model encoded, a mask or a size vector for other prompts.

    Args:
        config: of the UNet.

    Raises:
        ValueError: names the sizes seen.
    """
    context, pooled = text.context, text.pooled
    widths = (
        config["cross_attention_dim"],
        config["projection_class_embeddings_input_dim"] - SIZES * config["addition_time_embed_dim"],
    )
    if (context.shape[-1], pooled.shape[-1]) != widths:
        raise ValueError(
            f"the text is {context.shape[-1]} and pooled {pooled.shape[-1]} wide, this UNet reads {widths[0]} and"
            f" {widths[1]}; encode the prompts with this model's encode_prompt"
        )
    if time_ids.ndim != 2 or time_ids.shape[1] != SIZES:
        raise ValueError(
            f"time_ids has shape {list(time_ids.shape)}; (R, {SIZES}) is needed, as Supir.time_ids gives it"
        )
    if not len(context) == len(pooled) == len(time_ids):
        raise ValueError(
            f"{len(context)} contexts, {len(pooled)} pooled texts and {len(time_ids)} size vectors; as many of each are"
            " needed"
        )
    if text.mask is not None and text.mask.shape != context.shape[:2]:
        raise ValueError(
            f"the mask of the text has shape {list(text.mask.shape)}, its context {list(context.shape[:2])}; slice and"
            " repeat the conditioning itself, not its tensors"
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
