"""All that is random about a training step beside its crops, keyed by image and not by batch.

Place in the flow: `loop.py` makes an `ImageNoise` for every micro-batch, the phases' losses draw from it. The law it
keeps: what an image draws depends on (seed, phase, its number in the phase) alone, so neither the size of the
micro-batch nor the number of processes changes more than rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNoise:
    """The noise of a micro-batch of B images.

    Attributes:
        generators: one CPU generator an image; their order of use is part of a loss's definition.
        slices: int64 (B,), which of the `num_slices` equal slices of 0..1 each image has in this step.
    """

    generators: list[torch.Generator]
    slices: torch.Tensor
    num_slices: int

    def of(self, places: Sequence[int]) -> ImageNoise:
        """Returns that of some of the images; what is drawn from it is drawn from this too."""
        return replace(
            self, generators=[self.generators[place] for place in places], slices=self.slices[list(places)]
        )

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        """Returns standard normal numbers, float32, in the shape of `like`, (B, …), and on its device."""
        drawn = [torch.randn(like.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(like.device)

    def uniform(self) -> torch.Tensor:
        """Returns (B,) numbers in [0, 1) on the CPU."""
        return torch.stack([torch.rand((), generator=generator) for generator in self.generators])

    def stratified(self) -> torch.Tensor:
        """Returns (B,) numbers in [0, 1) on the CPU, each image's in its own slice.

        Over all images of a step they are spread evenly, which leaves every number equally likely and makes the
        loss of a step less noisy.
        """
        return ((self.slices + self.uniform()) / self.num_slices).clamp_max(1 - 2**-24)


def image_noise(seed: int, phase: str, numbers: Sequence[int], *, images_a_step: int) -> ImageNoise:
    """Returns the noise of the images with these numbers in the phase.

    Args:
        numbers: of images within one step, which has `images_a_step` of them: n to n + images_a_step - 1, where n is
            a multiple of it.
    """
    step = numbers[0] // images_a_step
    assert all(number // images_a_step == step for number in numbers), f"{numbers} lie in several steps"
    order = torch.randperm(images_a_step, generator=keyed_generator(seed, phase, "slices", step))
    return ImageNoise(
        generators=[keyed_generator(seed, phase, "image", number) for number in numbers],
        slices=order[[number % images_a_step for number in numbers]],
        num_slices=images_a_step,
    )


def keyed_generator(*identity: int | str) -> torch.Generator:
    """Returns a CPU generator that depends on nothing but `identity`."""
    digest = hashlib.sha256("/".join(str(part) for part in identity).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
