"""Sampling tiles: where they lie, how they blend, and a denoiser that works through them.

Place in the flow: wraps the network inside `restore` when the latent is larger than a tile. Shape legend: B
C h w latent.
The law it keeps: every latent pixel is covered and its blend weights sum to 1, so a denoiser that looks at
single pixels gives the same result tiled and untiled. Blending the clean estimate is the same as stepping
every tile and blending the step (the reference's way), because an Euler or multistep update is linear in
the estimate and the noise map is drawn once for the whole latent.
Source: windows and Gaussian weights as documented for SUPIR's tiled sampler (Mixture of Diffusers),
half-pixel asymmetry of the rows included; sides shorter than a tile get one window of their own length,
which is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from supir_model.sampler import Denoise

SPREAD = 0.01  # variance of the Gaussian in units of the squared tile side


@dataclass(frozen=True, slots=True)
class Window:
    """Rows [top, bottom) and columns [left, right) of a latent, in latent px."""

    top: int
    bottom: int
    left: int
    right: int

    def crop(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns the view of `latent` (B, C, h, w) under this window."""
        return latent[..., self.top : self.bottom, self.left : self.right]


def tile_windows(height: int, width: int, tile: int, stride: int) -> list[Window]:
    """Returns the windows that cover a latent of `height` x `width`, row by row; the last ones are flush.

    Args:
        height: latent rows.
        width: latent columns.
        tile: side of a window; a shorter side of the latent gets windows of its own length.
        stride: distance of two windows, 1 to `tile`.

    Raises:
        ValueError: the stride would leave gaps or not advance.
    """
    if not 1 <= stride <= tile:
        raise ValueError(f"stride={stride} does not cover tiles of {tile}; use 1 to {tile}")
    return [
        Window(top, min(top + tile, height), left, min(left + tile, width))
        for top in _starts(height, tile, stride)
        for left in _starts(width, tile, stride)
    ]


def blend_weights(height: int, width: int) -> npt.NDArray[np.float64]:
    """Returns the Gaussian weight of each pixel of a window, (height, width), peak about 15.9, never 0."""
    rows = _gaussian(height, centre=height / 2)
    columns = _gaussian(width, centre=(width - 1) / 2)
    return rows[:, None] * columns


def normalised_weights(windows: Sequence[Window], height: int, width: int) -> list[npt.NDArray[np.float64]]:
    """Returns one weight map a window; over each pixel of the (height, width) latent they sum to 1."""
    raw = [blend_weights(window.bottom - window.top, window.right - window.left) for window in windows]
    total = np.zeros((height, width))
    for window, weight in zip(windows, raw, strict=True):
        total[window.top : window.bottom, window.left : window.right] += weight
    return [
        weight / total[window.top : window.bottom, window.left : window.right]
        for window, weight in zip(windows, raw, strict=True)
    ]


def tiled(
    denoise_for: Callable[[torch.Tensor, slice], Denoise],
    z_lq: torch.Tensor,
    windows: Sequence[Window],
    batch: int,
) -> Denoise:
    """Returns a `Denoise` for the whole latent that runs the network on its windows and blends the estimates.

    Args:
        denoise_for: makes the `Denoise` of crops of z_lq, (k * B, C, tile, tile) window by window, and of which
            windows they are.
        z_lq: control latent, (B, C, h, w).
        windows: windows of one size that cover the latent.
        batch: windows that go through the network at once.
    """
    weights = [torch.from_numpy(weight).to(z_lq) for weight in normalised_weights(windows, *z_lq.shape[-2:])]
    groups = [slice(first, min(first + batch, len(windows))) for first in range(0, len(windows), batch)]
    denoisers = [denoise_for(_crops(z_lq, windows[group]), group) for group in groups]

    def denoise(x: torch.Tensor, sigma_hat: float, sigma: float) -> torch.Tensor:
        blended = torch.zeros_like(x)
        for group, denoise_group in zip(groups, denoisers, strict=True):
            estimates = denoise_group(_crops(x, windows[group]), sigma_hat, sigma).split(len(x))
            for window, weight, estimate in zip(windows[group], weights[group], estimates, strict=True):
                window.crop(blended).add_(estimate * weight)
        return blended

    return denoise


def _crops(latent: torch.Tensor, windows: Sequence[Window]) -> torch.Tensor:
    return torch.cat([window.crop(latent) for window in windows])


def _starts(side: int, tile: int, stride: int) -> list[int]:
    last = max(0, side - tile)
    return [*range(0, last, stride), last]


def _gaussian(side: int, centre: float) -> npt.NDArray[np.float64]:
    distance = np.arange(side) - centre
    return np.exp(-(distance**2) / (2 * SPREAD * side**2)) / math.sqrt(2 * math.pi * SPREAD)
