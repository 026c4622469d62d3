"""Gaussian and Poisson noise of many images, drawn on their device, each from the seed in its own trace.

Place in the flow: called by `batch`; the twins of `noise` in distribution, not in bits: a device has its own
streams. The law it keeps: an image's noise depends on its seed and size alone, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from supir_degrade.noise import LUMA
from supir_degrade.trace import GaussianNoise, PoissonNoise

NUM_LEVELS = 256


def add_gaussian_noise(images: Sequence[torch.Tensor], ops: Sequence[GaussianNoise]) -> list[torch.Tensor]:
    """Returns the images (3, h, w) plus normal noise of standard deviation sigma / 255, clipped to 0..1."""
    return [_with_gaussian_noise(image, op) for image, op in zip(images, ops, strict=True)]


def add_poisson_noise(images: Sequence[torch.Tensor], ops: Sequence[PoissonNoise]) -> list[torch.Tensor]:
    """Returns the images (3, h, w) plus `scale` times photon noise, see `noise.add_poisson_noise`."""
    return [_with_poisson_noise(image, op) for image, op in zip(images, ops, strict=True)]


def _with_gaussian_noise(image: torch.Tensor, op: GaussianNoise) -> torch.Tensor:
    shape = (1 if op.gray else 3, *image.shape[1:])
    normal = torch.randn(shape, generator=_generator(op.seed, image.device), device=image.device)
    return (image + normal * (op.sigma / 255)).clamp_(0, 1)


def _with_poisson_noise(image: torch.Tensor, op: PoissonNoise) -> torch.Tensor:
    red, green, blue = (float(share) for share in LUMA)
    source = (red * image[0] + green * image[1] + blue * image[2])[None] if op.gray else image
    # Counts are drawn in the order of memory, which must be that of the pixels.
    levels = (source * 255).round().clamp(0, 255).contiguous()
    seen = levels.new_zeros(NUM_LEVELS).index_fill_(0, levels.flatten().long(), 1.0)
    # The power of two that holds the levels in the picture: an exact logarithm, and no wait for the device.
    photons = torch.exp2(torch.frexp(seen.sum() - 0.5).exponent)
    counts = torch.poisson(levels * (photons / 255), generator=_generator(op.seed, image.device))
    noise = counts / photons - levels / 255
    return (image + noise * op.scale).clamp_(0, 1)


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
