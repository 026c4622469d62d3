"""Distances between a decoded image and the photo it should be, each in its closed form, and their weighted sum.

Place in the flow: `prior.py` (the autoencoder) and `encoder.py` make an `ImageLoss` of their config; `noise_loss.py` is
the diffusion loss. All images are (B, 3, H, W) in about [-1, 1]; every distance is a scalar, the mean over the batch.
The law it keeps: what is random (where a perceptual network looks) comes from each image's noise; a distance is
computed in float32, whatever the networks run in.
Source: LPIPS: Zhang et al. 2018; L1 of Fourier transforms: Cho et al. 2021 (MIMO-UNet, equation 5); the L1 of
differences prices blur more than L1 alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from supir_quality.lpips_weights import Backbone, load_lpips
from supir_train.adversary import Adversary
from supir_train.image_noise import ImageNoise
from supir_train.loss_config import EncoderLossConfig, ImageLossConfig
from supir_train.phase import Losses

LATENT_PX = 8
"""Pixels a side that a latent pixel stands for."""
FLAT_DIFFERENCE = 1e-3
"""Added to the mean difference, so that a flat picture has a profile too."""
NEARBY = (-3, -2, 2, 3)
"""Frequencies that a line of a grid is compared with, in steps of the transform from it."""
FAINT_POWER = 1e-4
"""Added to the power, so that a flat picture has faint lines and no infinite ones: a deviation of 1.3 levels."""
SMALLEST_WINDOW = 0.6
"""Smallest window that AlexNet looks at, in sides of the crop; it is enlarged to the crop's size."""
PERCEPTUAL = frozenset({"lpips_alex", "lpips_vgg", "adversarial"})
"""Terms that may prefer another texture to the true one; one figure an image."""


def pixel_distance(image: torch.Tensor, reference: torch.Tensor, config: ImageLossConfig) -> torch.Tensor:
    """Returns the mean over pixel values of |d|, d² or the Huber function of d (½d² up to delta, then linear)."""
    match config.pixel_distance:
        case "l1":
            return functional.l1_loss(image, reference)
        case "huber":
            return functional.huber_loss(image, reference, delta=config.huber_delta)
        case "mse":
            return functional.mse_loss(image, reference)


def perceptual_share(lq: torch.Tensor, hq: torch.Tensor, config: EncoderLossConfig) -> torch.Tensor | None:
    """Returns (B,): 1 where the PSNR of the LQ is at most `faithful_above_db`, above it the ratio of squared errors.

    None without that setting.

    Args:
        lq: (B, 3, H, W) in [-1, 1]; `hq` likewise.
    """
    if config.faithful_above_db is None:
        return None
    error = (lq - hq).float().square().mean(dim=(1, 2, 3))
    return (error / (4.0 * 10.0 ** (-config.faithful_above_db / 10.0))).clamp(max=1.0)


def gradient_distance(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns the L1 distance of the differences to the right and to the lower neighbour, their mean."""
    across = functional.l1_loss(image.diff(dim=-1), reference.diff(dim=-1))
    down = functional.l1_loss(image.diff(dim=-2), reference.diff(dim=-2))
    return (across + down) / 2


def spectrum_distance(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns the mean modulus of the difference of the orthonormal 2-D Fourier transforms."""
    return torch.fft.rfft2(image.float() - reference.float(), norm="ortho").abs().mean()


def grid_distance(image: torch.Tensor, reference: torch.Tensor, period: int = LATENT_PX) -> torch.Tensor:
    """Returns the L1 distance of the images' `difference_profile`s and that of their `grid_lines`, added.

    0 where a grid of `period` px is as faint as in the photo. Profiles show edges of blocks in smooth places, lines any
    pattern that comes again with each block.

    Args:
        image: (B, 3, H, W), sides multiples of 32; `reference` likewise.
        period: pixels a side that a latent pixel stands for, 4 or 8.
    """
    total = image.new_zeros(())
    for one, other in ((image, reference), (image.mT, reference.mT)):
        profiles = difference_profile(one, period), difference_profile(other, period)
        lines = grid_lines(one, period), grid_lines(other, period)
        total = total + (profiles[0] - profiles[1]).abs().mean() / 2 + (lines[0] - lines[1]).abs().mean() / 2
    return total


def difference_profile(image: torch.Tensor, period: int = LATENT_PX) -> torch.Tensor:
    """Returns (B, P): the mean |difference| to the right neighbour by column modulo P, over its mean of all columns."""
    differences = functional.pad(image.diff(dim=-1).abs(), (0, 1))
    columns = differences.mean(dim=(1, 2)).unflatten(-1, (-1, period))
    counts = torch.full((period,), columns.shape[1], device=image.device)
    counts[-1] -= 1  # the last column has no neighbour
    profile = columns.sum(dim=1) / counts.clamp(min=1)
    return profile / (profile.mean(dim=1, keepdim=True) + FLAT_DIFFERENCE)


def grid_lines(image: torch.Tensor, period: int = LATENT_PX) -> torch.Tensor:
    """Returns (B, P/2 - 1): how far the spectrum of the rows stands out at 1/P, 2/P … cycles a px, in nats of power.

    The power is that of the mean of the colours, averaged over the rows; it is compared with frequencies nearby.
    """
    power = torch.fft.rfft(image.float().mean(dim=1), norm="ortho").abs().square().mean(dim=1)
    lines = torch.arange(1, period // 2, device=image.device) * (image.shape[-1] // period)
    nearby = torch.stack([power[:, lines + offset] for offset in NEARBY]).mean(dim=0)
    return ((power[:, lines] + FAINT_POWER) / (nearby + FAINT_POWER)).log()


class Perceptual:
    """LPIPS (v0.1) of image pairs, with the network in the caller's autocast and the distance in float32.

    Raises:
        FileNotFoundError: the packages with the weights are not installed.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._network: Any = load_lpips(backbone)[0]

    def __call__(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Returns (B,); sides of at least 32 px for AlexNet, 16 px for VGG16."""
        network = self._network.to(image.device)
        with torch.no_grad():
            wanted = [_unit(value) for value in network.net(network.scaling_layer(reference))]
        total = image.new_zeros(len(image))
        for value, goal, head in zip(
            network.net(network.scaling_layer(image)), wanted, network.lins, strict=True
        ):
            weight = head.model[-1].weight.float()  # (1, channels, 1, 1)
            total = total + ((_unit(value) - goal).square() * weight).sum(dim=1).mean(dim=(1, 2))
        return total


class ImageLoss:
    """The terms of a config whose weight is not 0.

    Args:
        config: weights and kinds.
        adversary: the discriminator that the config asks for, or None.
    """

    def __init__(self, config: ImageLossConfig, adversary: Adversary | None) -> None:
        self._config, self._adversary = config, adversary
        self._alex = Perceptual("alex") if config.lpips_alex_weight else None
        self._vgg = Perceptual("vgg") if config.lpips_vgg_weight else None

    def __call__(
        self,
        image: torch.Tensor,
        reference: torch.Tensor,
        noise: ImageNoise,
        period: int = LATENT_PX,
        perceptual_share: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Losses]:
        """Returns the weighted sum, and the terms by name without their weights, some of them one figure an image.

        Args:
            image: (B, 3, H, W); `reference` likewise.
            noise: of these images; it says where the perceptual networks look.
            period: pixels a side that a latent pixel stands for, 4 or 8.
            perceptual_share: (B,) factors of what the perceptual networks and the adversary say of each image.
        """
        config = self._config
        image, reference = image.float(), reference.float()
        weights: dict[str, float] = {"pixel": config.pixel_weight, "gradient": config.gradient_weight}
        terms = self._over_scales(image, reference)
        if self._alex:
            terms["lpips_alex"] = self._alex(*_zoomed_windows(image, reference, noise))
            weights["lpips_alex"] = config.lpips_alex_weight
        if self._vgg:
            terms["lpips_vgg"] = self._vgg(*_half_windows(image, reference, noise))
            weights["lpips_vgg"] = config.lpips_vgg_weight
        if config.spectrum_weight:
            terms["spectrum"] = spectrum_distance(image, reference)
            weights["spectrum"] = config.spectrum_weight
        if config.grid_weight:
            terms["grid"] = grid_distance(image, reference, period)
            weights["grid"] = config.grid_weight
        if self._adversary:
            terms["adversarial"] = self._adversary.judge(image, reference)
            weights["adversarial"] = self._adversary.weight
        share = image.new_ones(len(image)) if perceptual_share is None else perceptual_share
        total = image.new_zeros(())
        for name, term in terms.items():
            total = total + weights[name] * ((share * term).mean() if name in PERCEPTUAL else term)
        return total, terms

    def _over_scales(self, image: torch.Tensor, reference: torch.Tensor) -> Losses:
        config, terms = self._config, Losses()
        for scale in range(config.scales):
            if scale:
                image, reference = functional.avg_pool2d(image, 2), functional.avg_pool2d(reference, 2)
            here = {"pixel": pixel_distance(image, reference, config)} if config.pixel_weight else {}
            if config.gradient_weight:
                here["gradient"] = gradient_distance(image, reference)
            for name, value in here.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + value / config.scales
        return terms


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Features with a norm of 1 over the channels; the small number keeps the gradient finite where all are 0."""
    features = features.float()
    return features / (features.square().sum(dim=1, keepdim=True) + 1e-20).sqrt()


def _zoomed_windows(
    image: torch.Tensor, reference: torch.Tensor, noise: ImageNoise
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same square windows of both, of random size and place, enlarged to the size of the crop."""
    side = image.shape[-1]
    shares = SMALLEST_WINDOW + (1.0 - SMALLEST_WINDOW) * noise.uniform()
    pairs = _windows(image, reference, [max(1, round(side * share)) for share in shares.tolist()], noise)
    enlarged = (
        functional.interpolate(pair, size=(side, side), mode="bilinear", align_corners=False)
        for pair in pairs
    )
    first, second = torch.stack(list(enlarged), dim=1)
    return first, second


def _half_windows(
    image: torch.Tensor, reference: torch.Tensor, noise: ImageNoise
) -> tuple[torch.Tensor, torch.Tensor]:
    sides = [image.shape[-1] // 2] * len(image)
    first, second = torch.stack(list(_windows(image, reference, sides, noise)), dim=1)
    return first, second


def _windows(
    image: torch.Tensor, reference: torch.Tensor, sides: Sequence[int], noise: ImageNoise
) -> Iterator[torch.Tensor]:
    """Yields for each image its window and the reference's, (2, 3, side, side), at a random place."""
    height, width = image.shape[-2:]
    across, down = noise.uniform().tolist(), noise.uniform().tolist()
    for pair, side, x_share, y_share in zip(
        torch.stack([image, reference], dim=1), sides, across, down, strict=True
    ):
        y, x = int(y_share * (height - side + 1)), int(x_share * (width - side + 1))
        yield pair[..., y : y + side, x : x + side]
