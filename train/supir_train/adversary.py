"""A small patch discriminator with its own optimizer: what decoded images must not be told from photos by.

Place in the flow: `losses.py` asks it to judge, which also keeps the images for its own lesson; the loop calls `learn`
after the generator's step; `checkpoint.py` keeps `state`. In the first `warmup_steps` its judgement has no weight.
The law it keeps: it draws nothing at random after its start, so a run that is stopped between two steps and continued
has the discriminator of one that was not.
Source: hinge loss (Lim and Ye 2017); spectral normalisation (Miyato et al. 2018); judged patch by patch (Isola et al.
2017). Kernels are multiples of their strides, so that no pixel weighs more than its neighbour.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from supir_train.loss_config import AdversaryConfig
from supir_train.metrics import Means
from supir_train.micro_batch import StepSplit
from supir_train.world import World

SLOPE = 0.2
"""Slope of the leaky ReLU below 0."""


class Adversary:
    """The discriminator of one phase, its optimizer and the images that it is still to learn from.

    Args:
        config: `weight` above 0.
        seed: of its first weights.
    """

    def __init__(self, config: AdversaryConfig, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = _network(config.channels).eval()
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr, betas=(0.5, 0.9))
        self._config = config
        self._steps_done = 0
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def weight(self) -> float:
        """Weight of `judge` in the image loss: 0 while the discriminator warms up."""
        return self._config.weight if self._steps_done >= self._config.warmup_steps else 0.0

    def to(self, device: torch.device) -> None:
        """Moves the discriminator."""
        self.network.to(device)

    def judge(self, image: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
        """Returns -D(image) (B,), means over patches; where gradients are on, both are kept for `learn`.

        Args:
            image: (B, 3, H, W) in about [-1, 1], at least 32 px a side; `photo` likewise.
        """
        if torch.is_grad_enabled():
            self.kept.append((image.detach(), photo))
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        return -self.network(image).float().mean(dim=(1, 2, 3))

    def forget(self) -> None:
        """Gives up the images kept since the last lesson."""
        self.kept = []

    def learn(self, world: World, count: int, means: Means, split: StepSplit) -> None:
        """One step on all images kept since the last, by the hinge loss.

        Args:
            world: the processes that share the step.
            count: the images of the step, over all processes.
            means: gets the figures that tell of the balance.
            split: of the step.
        """
        self.network.requires_grad_(True)
        self._normalise()
        counted = means.snapshot()

        def lesson(images: int) -> None:
            self._optimizer.zero_grad()
            means.restore(counted)
            for image, photo in self.kept:
                for pair in zip(image.split(images), photo.split(images), strict=True):
                    self._compare(*pair, count, means)

        split.fitted(lesson)
        world.sum_gradients(self.network.parameters())
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.forget()
        self._steps_done += 1

    def _compare(self, image: torch.Tensor, photo: torch.Tensor, count: int, means: Means) -> None:
        """Adds the gradients of some of the step's images."""
        of_photo, of_image = self.network(photo).float(), self.network(image).float()
        loss = functional.relu(1 - of_photo).mean() + functional.relu(1 + of_image).mean()
        (loss * (len(image) / count)).backward()
        figures = {
            "adversary_loss": loss,
            "adversary_photo": of_photo.mean(),
            "adversary_image": of_image.mean(),
        }
        means.add(figures, count=len(image))

    def _normalise(self) -> None:
        """One power iteration a step, however many forward passes it takes."""
        self.network.train()
        for layer in self.network:
            if isinstance(layer, nn.Conv2d):
                _ = layer.weight
        self.network.eval()

    def state(self) -> dict[str, Any]:
        """All that a stopped run needs of it."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps_done": self._steps_done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps_done = state["steps_done"]


def _network(channels: int) -> nn.Sequential:
    widths = (3, channels, 2 * channels, 4 * channels)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(SLOPE)]
    layers += [spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, padding=1)), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
