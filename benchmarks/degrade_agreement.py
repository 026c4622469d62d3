"""What benchmarks/degrade.py compares: single operations number by number, and whole recipes draw by draw.

Where the two differ on purpose (libjpeg for DiffJPEG, OpenCV's "area" enlarging) the bands are wide enough for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from degrade_peer import KERNELS, SCALE, Peer, to_arrays, to_tensor
from degrade_speed import ORIGINAL, Photo, ours, photos, theirs
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional

from supir_degrade import filters, kernels, load_recipe, noise
from supir_degrade.codecs import jpeg

OUR_KERNELS = ("iso", "aniso", "gen_iso", "gen_aniso", "plateau_iso", "plateau_aniso")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
P_VALUE = 1e-3
"""Two samples of one distribution fall below it once in a thousand; seeds are fixed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: the two numbers, and how far apart they may be."""

    name: str
    ours: float
    theirs: float
    band: float
    p_value: float = 1.0

    @property
    def agrees(self) -> bool:
        """Whether the numbers are within the band and the distributions not told apart."""
        return abs(self.ours - self.theirs) <= self.band and self.p_value > P_VALUE

    def __str__(self) -> str:
        p_value = f"   KS p {self.p_value:.3f}" if self.p_value < 1 else ""
        mark = "ok  " if self.agrees else "MISS"
        return f"  {mark} {self.name:<46}{self.ours:>11.4g}{self.theirs:>11.4g}   band {self.band:g}{p_value}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a degraded picture; `band` is for its mean over the draws, in its own unit."""

    name: str
    band: float


MEASURES = (
    Measure("PSNR to the input, dB", 0.75),
    Measure("mean brightness change, of 255", 0.4),
    Measure("log10 variance of Laplacian", 0.15),
    Measure("log10 noise energy, red", 0.12),
    Measure("log10 noise energy, green", 0.12),
    Measure("log10 noise energy, blue", 0.12),
)
"""The bands are a quarter to a third of the spread between the draws of `realesrgan`."""


def measured(lq: Photo, photo: Photo) -> list[float]:
    """The numbers of `MEASURES`; those of detail and noise at the output size, before the picture was enlarged."""
    difference = lq.astype(np.float32) - photo
    psnr = 10 * math.log10(255**2 / float(np.mean(difference**2)))
    height, width = lq.shape[0] // SCALE, lq.shape[1] // SCALE
    small = cv2.resize(lq, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = cv2.Laplacian(small @ LUMA, cv2.CV_32F).var()
    energy = np.mean((small - cv2.GaussianBlur(small, (0, 0), 1.5)) ** 2, axis=(0, 1))
    return [psnr, float(difference.mean()), float(np.log10(detail)), *np.log10(energy).tolist()]


def agreement(peer: Peer, num_samples: int) -> Iterator[Row]:
    """Operations one by one, then both recipes that the peer can run, over that many draws."""
    images = photos()
    yield from operation_rows(peer, images)
    torch.set_flush_denormal(True)
    for name in ("realesrgan", "light"):
        sides = (ours(load_recipe(name, ORIGINAL)), theirs(peer, name))
        numbers: tuple[list[list[float]], list[list[float]]] = ([], [])
        for number in range(num_samples):
            photo = images[number % len(images)]
            for side, measures in zip(sides, numbers, strict=True):
                measures.append(measured(side(photo, number), photo))
        yield from recipe_rows(name, *numbers)
    torch.set_flush_denormal(False)


def recipe_rows(name: str, ours: list[list[float]], theirs: list[list[float]]) -> Iterator[Row]:
    """Mean and distribution of every measure over the draws of one recipe."""
    for measure, mine, their in zip(MEASURES, np.array(ours).T, np.array(theirs).T, strict=True):
        p_value = float(stats.ks_2samp(mine, their).pvalue)
        yield Row(f"{name}: {measure.name}", float(mine.mean()), float(their.mean()), measure.band, p_value)


@torch.no_grad()
def operation_rows(peer: Peer, photos: list[Photo]) -> Iterator[Row]:
    """Every operation alone, with equal numbers; largest differences are beside zero."""
    photo = photos[0]
    image, tensor = photo.astype(np.float32) / np.float32(255), to_tensor([photo])
    yield Row("largest difference of 60 Gaussian kernels", _kernel_difference(peer), 0, 1e-6)
    yield Row("largest difference of 20 sinc kernels", _sinc_difference(peer), 0, 1e-6)
    yield Row("blur, largest difference", _blur_difference(peer, image, tensor), 0, 5e-6)
    sharp = filters.unsharp_mask(image, weight=0.5, radius_px=25, threshold=10)
    yield Row("unsharp mask, largest difference", _largest(sharp, peer.sharpen(tensor)), 0, 1e-5)
    for mode in ("bilinear", "bicubic"):
        expected = functional.interpolate(tensor, size=(307, 201), mode=mode)
        got = filters.resize(image, 307, 201, mode)
        yield Row(f"{mode} resize, largest difference", _largest(got, expected), 0, 5e-5)
    shrunk = functional.interpolate(tensor, size=(128, 128), mode="area")
    difference = _largest(filters.resize(image, 128, 128, "area"), shrunk)
    yield Row("area resize to a quarter, largest difference", difference, 0, 1e-5)
    yield from _noise_rows(peer, image, tensor)
    for quality in (30, 60, 95):
        yield _jpeg_row(peer, photos, quality)


def _kernel_difference(peer: Peer) -> float:
    rng, worst = np.random.default_rng(0), 0.0
    for number in range(60):
        kind, theirs = OUR_KERNELS[number % 6], KERNELS[number % 6]
        isotropic = not kind.endswith("aniso")
        size, beta = 2 * int(rng.integers(3, 11)) + 1, rng.uniform(0.5, 2)
        sigma_x, sigma_y, rotation = rng.uniform(0.4, 3), rng.uniform(0.4, 3), rng.uniform(-3, 3)
        numbers = (size, sigma_x, sigma_y, rotation)
        if theirs.startswith("generalized"):
            expected = peer.ops.bivariate_generalized_Gaussian(*numbers, beta, isotropic=isotropic)
        elif theirs.startswith("plateau"):
            expected = peer.ops.bivariate_plateau(*numbers, beta, isotropic=isotropic)
        else:
            expected = peer.ops.bivariate_Gaussian(*numbers, isotropic=isotropic)
        if isotropic:
            sigma_y, rotation = sigma_x, 0.0
        got = kernels.gaussian_kernel(
            kind, size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=rotation, beta=beta
        )
        worst = max(worst, float(np.abs(got - expected).max()))
    return worst


def _sinc_difference(peer: Peer) -> float:
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(20):
        size, cutoff = 2 * int(rng.integers(3, 11)) + 1, rng.uniform(math.pi / 5, math.pi)
        expected = peer.ops.circular_lowpass_kernel(cutoff, size)
        worst = max(worst, float(np.abs(kernels.sinc_kernel(size, cutoff) - expected).max()))
    return worst


def _blur_difference(peer: Peer, image: NDArray[np.float32], tensor: torch.Tensor) -> float:
    """Over kernels that take each of the three ways: cut to a small one, separable, and neither."""
    worst = 0.0
    for kind, sigma_x, sigma_y in (("aniso", 0.9, 0.4), ("iso", 2.5, 2.5), ("plateau_aniso", 2.0, 0.7)):
        kernel = kernels.gaussian_kernel(
            kind, 21, sigma_x=sigma_x, sigma_y=sigma_y, rotation=0.7 if "an" in kind else 0.0, beta=1.4
        )
        expected = peer.filter2d(tensor, torch.from_numpy(kernel)[None])
        worst = max(worst, _largest(filters.convolve(image, kernel), expected))
    return worst


def _noise_rows(peer: Peer, image: NDArray[np.float32], tensor: torch.Tensor) -> Iterator[Row]:
    """Standard deviations of the noise, of 255, on a picture moved into 0.3..0.6 so that little is clipped."""
    image, tensor = image * np.float32(0.3) + np.float32(0.3), tensor * 0.3 + 0.3
    torch.manual_seed(0)
    for gray in (False, True):
        colour = "gray" if gray else "colour"
        mine = noise.add_gaussian_noise(image, sigma=10, gray=gray, seed=1) - image
        theirs = peer.ops.add_gaussian_noise_pt(tensor, 10, float(gray)) - tensor
        yield Row(f"Gaussian noise 10, {colour}", 255 * float(mine.std()), 255 * float(theirs.std()), 0.1)
        mine = noise.add_poisson_noise(image, scale=1.0, gray=gray, seed=1) - image
        theirs = peer.ops.add_poisson_noise_pt(tensor, 1.0, gray_noise=float(gray)) - tensor
        yield Row(f"Poisson noise 1, {colour}", 255 * float(mine.std()), 255 * float(theirs.std()), 0.2)


def _jpeg_row(peer: Peer, photos: list[Photo], quality: int) -> Row:
    """A wide band: libjpeg enlarges chroma smoothly, which keeps colour better at high quality."""
    ours, theirs = [], []
    for photo in photos:
        image = photo.astype(np.float32) / np.float32(255)
        mine = jpeg(image, quality=quality, subsampling="4:2:0", progressive=False)
        their = to_arrays(peer.jpeg(to_tensor([photo]), quality=quality))[0]
        ours.append(-10 * math.log10(float(np.mean((mine - image) ** 2))))
        theirs.append(-10 * math.log10(float(np.mean((their / 255 - image) ** 2))))
    return Row(f"JPEG {quality}: PSNR, dB", float(np.mean(ours)), float(np.mean(theirs)), 1.0)


def _largest(ours: NDArray[np.float32], theirs: torch.Tensor) -> float:
    return float(np.abs(ours - theirs[0].permute(1, 2, 0).numpy()).max())
