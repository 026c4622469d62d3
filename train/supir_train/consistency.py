"""Multistep consistency: a student learns to land in one large step where its teacher's small steps lead.

The way from `start_sigma` to clean is cut into as many large steps as the student may take, each into intervals, each
of these into the teacher's own small steps. Within a large step the student shall land at the same point from every
level: from a point x it lands itself, and from where the teacher carries x in one interval it lands without a gradient;
at the last interval the teacher's point is the landing. So the teacher runs one interval a training step, whatever
the length of its run, and what it knows spreads from the end of each large step to its beginning.

Place in the flow: `distill.py` gives the networks and the points. No network and no randomness here.
Source: consistency distillation, Song et al. 2023 (arXiv 2303.01469), definition 1, the target by the student's own
weights without a gradient as in Song and Dhariwal 2023 (2310.14189); the cut into large steps is Heek et al. 2024
(2403.06807), algorithm 1, with their DDIM step written for sigmas. Differs: distances are taken where the student lands
and not between clean estimates, which divides by nothing and weighs an error as sampling meets it.

Legend: B images, C h w latent, N large steps, K small steps in a large one, M small steps in an interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from supir_model.diffusion import sampling_timesteps, sigma_table

Estimate = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x, timestep) → the clean latent (B, C, h, w), float32, that a network sees in x (B, C, h, w) with the noise of
`timestep` (B,), int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The noise levels of the large steps, on the CPU.

    `timesteps` is int64 (N, K), entries of the table, descending; `sigmas` float32 (N, K + 1), the same with the level
    at which each large step ends, 0 in the last.
    """

    timesteps: torch.Tensor
    sigmas: torch.Tensor

    def interval(self, step: torch.Tensor, first: torch.Tensor, small: int) -> Interval:
        """Returns for each image the interval that begins at small step `first` of large step `step`.

        Args:
            step, first: int64 (B,).
            small: M.
        """
        columns = first[:, None] + torch.arange(small + 1)
        # past the last entry the level is that of the end, whose timestep is the next large step's first
        entries = torch.cat([self.timesteps, self.timesteps.roll(-1, 0)[:, :1]], dim=1)
        return Interval(
            timesteps=entries[step[:, None], columns],
            sigmas=self.sigmas[step[:, None], columns],
            end=self.sigmas[step, -1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The levels before each image.

    `timesteps` is int64 (B, M + 1), `sigmas` (B, M + 1) and `end` (B,), where the image's large step lands; where the
    interval ends there too, its last timestep is not used.
    """

    timesteps: torch.Tensor
    sigmas: torch.Tensor
    end: torch.Tensor

    def to(self, device: torch.device) -> Interval:
        """Returns the interval on `device`."""
        return Interval(
            timesteps=self.timesteps.to(device), sigmas=self.sigmas.to(device), end=self.end.to(device)
        )


def large_steps(start: int, steps: int, small: int) -> Levels:
    """Returns the levels of the restorer's own `steps` steps from table index `start`, each with `small` small ones.

    Raises:
        ValueError: a large step has fewer levels than small steps.
    """
    firsts = sampling_timesteps(steps, start).tolist()
    rows = []
    for first, end in zip(firsts, [*firsts[1:], 0], strict=True):
        if first - end < small:
            raise ValueError(
                f"{first - end} noise levels lie from index {first} to {end}, {small} are needed"
            )
        rows.append(np.floor(np.linspace(first, end, small, endpoint=False)))
    timesteps = torch.from_numpy(np.stack(rows)).long()
    sigmas = sigma_table()[timesteps]
    ends = torch.cat([sigmas[1:, 0], torch.zeros(1)])
    return Levels(timesteps=timesteps, sigmas=torch.cat([sigmas, ends[:, None]], dim=1))


def moved(
    x: torch.Tensor, clean: torch.Tensor, sigma: torch.Tensor, sigma_next: torch.Tensor
) -> torch.Tensor:
    """Returns x at `sigma_next`: the deterministic (DDIM, Euler) step along the line from x through its estimate.

    Args:
        x, clean: (B, C, h, w).
        sigma, sigma_next: (B,).
    """
    return clean + _wide(sigma_next / sigma) * (x - clean)


def bridged(clean: torch.Tensor, start: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Returns the points (B, C, h, w) that lie `share` (B,) of the way from the clean latent to the start, 0 to 1.

    At 1 they are what the restorer starts from; that way is a deterministic step's, whose estimate is right.
    """
    return clean + _wide(share) * (start - clean)


def landing_errors(student: Estimate, teacher: Estimate, x: torch.Tensor, ahead: Interval) -> torch.Tensor:
    """Returns the mean squared distance (B,) of where the student lands from x and where it shall.

    Args:
        student: with a gradient.
        teacher: without one.
        x: (B, C, h, w) at the first level of `ahead`.
        ahead: on the device of x.
    """
    timesteps, sigmas = ahead.timesteps.unbind(1), ahead.sigmas.unbind(1)
    # first of all: autocast keeps each weight's copy from its first use on, and one made without a gradient passes none
    landed = moved(x, student(x, timesteps[0]), sigmas[0], ahead.end)
    with torch.no_grad():
        led = x
        for timestep, sigma, sigma_next in zip(timesteps[:-1], sigmas[:-1], sigmas[1:], strict=True):
            led = moved(led, teacher(led, timestep), sigma, sigma_next)
        arrived = sigmas[-1] <= ahead.end
        # where the teacher has arrived its own point counts; any positive level keeps the unused quotient a number
        sigma = torch.where(arrived, 1.0, sigmas[-1])
        landing = moved(led, student(led, timesteps[-1]), sigma, ahead.end)
        target = torch.where(_wide(arrived), led, landing)
    return (landed - target).square().mean(dim=(1, 2, 3))


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.reshape(-1, 1, 1, 1)
