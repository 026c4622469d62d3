"""Nodes that encode and decode with a model's autoencoder in strips: the whole one's result in less memory, no seams.

Place in the flow: beside `restoring`, for graphs that sample by themselves. Latents are ComfyUI's: of an SDXL model
they are SDXL's, not scaled.
"""

from __future__ import annotations

from typing import Any

import torch

from supir_infer.codec import Codec
from supir_infer.interrupt import stoppable

from . import host
from .loading import CATEGORY, Loaded

STRIP = (
    "INT",
    {
        "default": 256,
        "min": 0,
        "max": 8192,
        "step": 64,
        "tooltip": "Rows of the picture at once; 0: all, as mini's autoencoder needs",
    },
)
LATENT_PX = 8


class SupirVaeEncode:
    """Encodes pictures."""

    CATEGORY = CATEGORY
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = (
        "Exact in strips. robust: the encoder that SUPIR cleans degraded pictures with, its stage one."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        return {
            "required": {
                "model": ("SUPIR_MODEL",),
                "image": ("IMAGE",),
                "encoder": (["plain", "robust"],),
                "strip_px": STRIP,
            }
        }

    @torch.no_grad()
    def encode(
        self, model: Loaded, image: torch.Tensor, encoder: str, strip_px: int
    ) -> tuple[dict[str, torch.Tensor]]:
        """Returns the mode of each picture's latent, {"samples": (B, C, H / 8, W / 8)}.

        Args:
            model: of a loader.
            image: (B, H, W, 3) in 0..1; what is over multiples of 8 px is cut off, as ComfyUI's node does.
            encoder: plain or robust.
            strip_px: rows of the picture at once, 0 for all.
        """
        height, width = (side // LATENT_PX * LATENT_PX for side in image.shape[1:3])
        pixels = image[:, :height, :width, :3].movedim(-1, 1).to(model.supir.device) * 2 - 1
        codec = Codec(model.supir, strip_px)
        with stoppable(model.supir, host.is_cancelled):
            latent = (
                codec.encode_lq(pixels) if encoder == "robust" else codec.encode(pixels, torch.zeros_like)
            )
        return ({"samples": (latent / _scale(model)).cpu()},)


class SupirVaeDecode:
    """Decodes latents."""

    CATEGORY = CATEGORY
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Exact in strips: what decoding as a whole gives, in less memory, without seams."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        return {"required": {"model": ("SUPIR_MODEL",), "samples": ("LATENT",), "strip_px": STRIP}}

    @torch.no_grad()
    def decode(self, model: Loaded, samples: dict[str, torch.Tensor], strip_px: int) -> tuple[torch.Tensor]:
        """Returns the pictures (B, H, W, 3) in 0..1.

        Args:
            model: of a loader.
            samples: {"samples": (B, C, h, w)}, not scaled.
            strip_px: rows of the picture at once, 0 for all.
        """
        latent = samples["samples"].to(model.supir.device, torch.float32) * _scale(model)
        with stoppable(model.supir, host.is_cancelled):
            pixels = Codec(model.supir, strip_px).decode(latent)
        return (((pixels + 1) / 2).clamp(0, 1).movedim(1, -1).cpu(),)


def _scale(model: Loaded) -> float:
    return float(model.supir.vae.config["scaling_factor"])
