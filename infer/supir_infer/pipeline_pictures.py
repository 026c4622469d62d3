"""Pictures, prompts and seeds as users of diffusers give them, and results as they want them.

Place in the flow: `pipeline` alone uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from supir_infer.images import read_picture
from supir_infer.saving import Levels

Picture = Image.Image | npt.NDArray[Any] | torch.Tensor


def pictures_of(image: Picture | str | Sequence[Picture | str]) -> list[Image.Image | npt.NDArray[Any]]:
    """Returns one picture or several, each as `Restorer.restore` takes it.

    Args:
        image: PIL image, array (H, W, 3), tensor (3, H, W) or (B, 3, H, W) in 0..1, or path; or a list of them.
    """
    if isinstance(image, torch.Tensor) and image.ndim == 4:
        image = list(image)
    many = image if isinstance(image, Sequence) and not isinstance(image, str) else [image]
    return [_picture(one) for one in many]


def _picture(image: Picture | str) -> Image.Image | npt.NDArray[Any]:
    if isinstance(image, torch.Tensor):
        array: npt.NDArray[Any] = image.detach().float().cpu().movedim(0, -1).numpy()
        return array
    if isinstance(image, str | Path):
        return read_picture(Path(image)).rgb
    return image


def each(value: Any, count: int, what: str) -> list[Any]:
    """Returns a value for each of `count` pictures, where one stands for all.

    Raises:
        ValueError: there are as many `what` as neither.
    """
    values = [value] * count if isinstance(value, str | int) else list(value)
    if len(values) != count:
        raise ValueError(f"{len(values)} {what} for {count} pictures; give one for all, or one for each")
    return values


def seeds_of(seed: Any, generator: Any, count: int) -> list[int]:
    """Returns a seed for each of `count` pictures, drawn from the generators where there are some."""
    if generator is None:
        return each(seed, count, "seeds")
    generators = [generator] * count if isinstance(generator, torch.Generator) else list(generator)
    drawn = [int(torch.randint(2**62, (1,), generator=one, device=one.device)) for one in generators]
    return each(drawn, count, "generators")


def as_type(images: Sequence[Levels], output_type: str) -> Any:
    """Returns results as `pil` (8 bits), `np` or `pt` (floats in 0..1); stacked where their sizes are one.

    Args:
        images: (H, W, 3) of uint8 or uint16 each.
        output_type: pil, np or pt.
    """
    floats = [image.astype(np.float32) / np.iinfo(image.dtype).max for image in images]
    if output_type == "pil":
        return [Image.fromarray((image * 255 + 0.5).astype(np.uint8)) for image in floats]
    alike = len({image.shape for image in images}) == 1
    if output_type == "np":
        return np.stack(floats) if alike else floats
    tensors = [torch.from_numpy(image).movedim(-1, 0) for image in floats]
    return torch.stack(tensors) if alike else tensors
