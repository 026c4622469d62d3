"""The node that restores: pictures and a caption in, restored pictures and what they were made with out.

Place in the flow: after a loader; a captioner's text goes into `caption`. It restores with `Restorer`, so a picture
comes out as from `supir-infer`, in 16 bits.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from supir_infer import PRESETS
from supir_infer.interrupt import stoppable
from supir_infer.preset_base import require_fitting_preset
from supir_infer.restore import Restorer, Result
from supir_infer.settings import RestoreSettings, change_settings

from . import host
from .loading import CATEGORY, Loaded
from .masking import mask_of, taken_apart
from .settings import Chosen

MOST_SEED = 2**64 - 1


class SupirRestore:
    """Restores each picture of a batch."""

    CATEGORY = CATEGORY
    FUNCTION = "restore"
    RETURN_TYPES = ("IMAGE", "STRING", "MASK")
    RETURN_NAMES = ("image", "made_with", "mask")
    DESCRIPTION = (
        "Restores each picture of a batch. Without settings: mini's, or fidelity's for an SDXL model."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        caption = {"multiline": True, "default": "", "tooltip": "What is in it; a captioner may be connected"}
        upscale = {"default": 1.0, "min": 0.25, "max": 16.0, "step": 0.25, "round": 0.001}
        seed = {"default": 0, "min": 0, "max": MOST_SEED, "control_after_generate": True}
        return {
            "required": {
                "model": ("SUPIR_MODEL",),
                "image": ("IMAGE",),
                "caption": ("STRING", caption),
                "upscale": ("FLOAT", {**upscale, "tooltip": "Output side / input side"}),
                "seed": ("INT", {**seed, "tooltip": "Of each picture's noise"}),
            },
            "optional": {
                "settings": ("SUPIR_SETTINGS",),
                "mask": (
                    "MASK",
                    {"tooltip": "What is transparent, as Load Image says; it comes out at the new size"},
                ),
            },
        }

    def restore(
        self,
        model: Loaded,
        image: torch.Tensor,
        caption: str,
        upscale: float,
        seed: int,
        settings: Chosen | None = None,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, str, torch.Tensor]:
        """Returns the restored pictures (B, H, W, 3) in 0..1, as JSON what each was made with, and their mask.

        Args:
            model: of a loader.
            image: (B, H, W, 3) in 0..1, or (B, H, W, 4) with alpha.
            caption: what is in them.
            upscale: output side / input side.
            seed: of each picture's noise.
            settings: of a node of `settings`; None takes the preset that fits the model.
            mask: (B, h, w), (1, h, w) or (h, w), 1 where a picture is transparent; it goes with the alpha.

        Raises:
            UserError: a preset for another size of model, or a picture that cannot be restored.
            ValueError: neither one mask nor one a picture.
        """
        pictures = taken_apart(image, mask)
        restorer = Restorer(model.supir, _settings(model, settings, upscale))
        on_step = host.progress(len(image) * restorer.num_steps)
        with stoppable(model.supir, host.is_cancelled):
            results = [restorer.restore(rgb, caption, seed, on_step) for rgb, _ in pictures]
        images = np.stack([result.image / np.float32(65535) for result in results])
        made_with = [_made_with(model, result, caption) for result in results]
        hidden = mask_of([alpha for _, alpha in pictures], results[0].sizes.output)
        return torch.from_numpy(images), json.dumps(made_with, ensure_ascii=False, indent=1), hidden


def _settings(model: Loaded, chosen: Chosen | None, upscale: float) -> RestoreSettings:
    if chosen is not None and chosen.preset:
        require_fitting_preset(chosen.preset, model.source)
    settings = PRESETS[model.source.settings_preset()] if chosen is None else chosen.settings
    return change_settings(settings, {"upscale": upscale, "output_format": "png", "output_bits": 16})


def _made_with(model: Loaded, result: Result, caption: str) -> dict[str, Any]:
    return {
        "model": model.source.described(),
        "caption": caption,
        "prompt": result.prompt,
        "seed": result.seed,
        "settings": result.settings.model_dump(mode="json"),
        "size": {
            "input": result.sizes.source,
            "working": result.sizes.working,
            "output": result.sizes.output,
        },
        "tiles": result.num_tiles,
        "strength": round(result.strength, 3),
    }
