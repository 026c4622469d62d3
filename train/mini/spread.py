"""Gives the latents of a `MiniVAE` back a part of the spread that they have in pixels; what is decoded stays the same.

    python train/mini/spread.py OUT MODEL PHOTOS --exponent 0.85

With exponent 0 each channel has the same deviation, as the autoencoder's fit leaves it: noise then hides the coarse
picture as soon as the finest detail, and the coarse has a 64th of the prior's loss. With 1 a channel weighs as it does
in pixels, and a sampler that begins at pure noise finds the coarse first, as SDXL's does. The mean variance is 1 in any
case. UNet and adapter are left as they are and have to be trained anew on the moved latents.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from supir_console import UserError
from supir_infer.images import ImageError, read_picture
from supir_infer.model_source import load_model, resolve_model
from supir_model import Supir
from supir_model.mini_vae import BLOCK, MiniVAE, block_transform

CROP_PX = 256


def main() -> None:
    """Writes the model folder that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("model", help="name or folder")
    parser.add_argument("photos", type=Path, help=f"folder; the middle {CROP_PX} px of each are measured")
    parser.add_argument("--exponent", type=float, required=True, help="of a channel's deviation in pixels")
    options = parser.parse_args()
    try:
        supir = load_model(resolve_model(options.model), "cpu", "float32")
        spread(supir, [_middle(path) for path in sorted(options.photos.iterdir())], options.exponent)
    except (UserError, ImageError) as error:
        sys.exit(f"error: {error}")
    supir.save_pretrained(options.out)


@torch.no_grad()
def spread(supir: Supir, photos: list[torch.Tensor], exponent: float) -> None:
    """Moves the latents' deviations over `photos` to (deviation in pixels) ** exponent, their mean variance to 1.

    Args:
        photos: (1, 3, H, W) each, in [-1, 1].

    Raises:
        UserError: the model's autoencoder is no `MiniVAE`, or there is no photo.
    """
    if not isinstance(supir.vae, MiniVAE):
        raise UserError(
            "only the latents of `mini` are coefficients of blocks, whose spread in pixels is known"
        )
    if not photos:
        raise UserError("there is no photo to measure the latents on")
    latents = [supir.vae.encode(photo).latent_dist.mode().transpose(0, 1).flatten(1) for photo in photos]
    latent = torch.cat(latents, dim=1)
    mean, deviation = latent.mean(dim=1), latent.std(dim=1)
    _, synthesis = block_transform(len(mean))
    in_pixels = deviation * supir.vae.post_quant_conv.weight[:, 0, 0, 0].abs() * synthesis.norm(dim=0)
    asked = in_pixels**exponent
    supir.vae.standardize(mean, deviation / (asked / asked.square().mean().sqrt()))


def _middle(path: Path) -> torch.Tensor:
    rgb = read_picture(path).rgb
    height, width = (min(CROP_PX, side // BLOCK * BLOCK) for side in rgb.shape[:2])
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    crop = torch.from_numpy(rgb[top : top + height, left : left + width])
    return crop.permute(2, 0, 1)[None] * 2 - 1


if __name__ == "__main__":
    main()
