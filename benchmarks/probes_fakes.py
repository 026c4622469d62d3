"""Fakes of photos: every way a picture can look worth keeping and not be, made from a folder of real ones.

Each fake has the size of its photo, so that no probe can tell them by size. Nearest neighbour, bilinear, bicubic and
Lanczos are OpenCV's, with half-pixel centres as in Pillow and torch; what is reduced is reduced by area first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_images import decode_rgb

Rgb = NDArray[np.uint8]
Make = Callable[[Rgb, np.random.Generator], Rgb]
KERNELS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "Lanczos": cv2.INTER_LANCZOS4,
}
RESAVE_QUALITY = 95


class Fake(NamedTuple):
    """One kind of fake.

    Args:
        name: what was done to the photo.
        probes: names of the scores that are meant to see it.
        make: (H, W, 3) uint8 RGB and a generator in, the same shape out.
        saved_as: "png" (pixels alone) or "jpg" (quality 95).
    """

    name: str
    probes: tuple[str, ...]
    make: Make
    saved_as: str = "png"


def _enlarged(factor: float, kernel: str) -> Make:
    def make(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
        height, width = rgb.shape[:2]
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=KERNELS[kernel]), dtype=np.uint8)

    return make


def _then(*steps: Make) -> Make:
    def make(rgb: Rgb, rng: np.random.Generator) -> Rgb:
        for step in steps:
            rgb = step(rgb, rng)
        return rgb

    return make


def _noise(sigma: float) -> Make:
    def make(rgb: Rgb, rng: np.random.Generator) -> Rgb:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(sigma)
        return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)

    return make


def _unsharp(sigma_px: float, amount: float) -> Make:
    def make(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
        soft = cv2.GaussianBlur(rgb, (0, 0), sigma_px)
        return np.asarray(cv2.addWeighted(rgb, 1 + amount, soft, -amount, 0), dtype=np.uint8)

    return make


def _blur(sigma_px: float) -> Make:
    return lambda rgb, _rng: np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma_px), dtype=np.uint8)


def _jpeg(quality: int) -> Make:
    def make(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
        data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return decode_rgb(data.tobytes())

    return make


def _cropped(top: int, left: int) -> Make:
    return lambda rgb, _rng: np.ascontiguousarray(rgb[top:, left:])


def _grey(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
    return np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _posterised(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
    """Two levels a channel: eight colours."""
    return np.where(rgb >= 128, np.uint8(255), np.uint8(0)).astype(np.uint8)


def _framed(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
    height, width = rgb.shape[:2]
    bar = height // 8
    inner = cv2.resize(rgb, (width, height - 2 * bar), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(inner, bar, bar, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0)))


def _collage(rgb: Rgb, _rng: np.random.Generator) -> Rgb:
    """Four of the photo's own reductions, turned and mirrored, edge to edge."""
    height, width = rgb.shape[:2]
    half = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    rows = [np.hstack([half, half[::-1]]), np.hstack([half[::-1, ::-1], half[:, ::-1]])]
    # Shifted a quarter, so that no seam meets its own mirror image.
    shifted = [np.roll(row, half.shape[1] // 3, axis=1) if number else row for number, row in enumerate(rows)]
    return np.ascontiguousarray(np.vstack(shifted))


def _page(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    """A window of text with the photo in a third of it."""
    height, width = rgb.shape[:2]
    page = np.full_like(rgb, 250)
    page[: height // 20] = (40, 60, 120)
    scale = max(0.4, height / 1600)
    for line in range(3, 40):
        text = "".join(rng.choice(list("abcdefgh ijklmno pqrst uvwxyz "), 90))
        cv2.putText(page, text, (8, line * height // 40), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), 1)
    small = cv2.resize(rgb, (width // 2, height * 2 // 3), interpolation=cv2.INTER_AREA)
    page[height // 6 : height // 6 + small.shape[0], width - small.shape[1] :] = small
    return page


_RESOLUTION = ("doubling_trace", "resampling_trace", "effective_ratio")
_JPEG = ("first_quality", "blockiness")
_DOUBLE = _enlarged(2, "bicubic")

FAKES = (
    *(Fake(f"x2 {name}", _RESOLUTION, _enlarged(2, name)) for name in ("bicubic", "bilinear", "Lanczos")),
    *(Fake(f"x{factor} bicubic", _RESOLUTION, _enlarged(factor, "bicubic")) for factor in (1.3, 1.5, 3, 4)),
    Fake("x2 nearest", _RESOLUTION, _enlarged(2, "nearest")),
    Fake("x2 + noise 5", _RESOLUTION, _then(_DOUBLE, _noise(5))),
    Fake("x2 + sharpening", _RESOLUTION, _then(_DOUBLE, _unsharp(1, 1.5))),
    Fake("x2 + JPEG 95", _RESOLUTION, _DOUBLE, "jpg"),
    Fake("x2 + JPEG 85", _RESOLUTION, _then(_DOUBLE, _jpeg(85))),
    *(Fake(f"JPEG {quality} + 95", _JPEG, _jpeg(quality), "jpg") for quality in (75, 50, 30, 10)),
    *(Fake(f"JPEG {quality} + 95 + PNG", _JPEG, _then(_jpeg(quality), _jpeg(95))) for quality in (50, 30)),
    Fake("JPEG 50 + crop + PNG", _JPEG, _then(_jpeg(50), _cropped(3, 5))),
    *(
        Fake(f"blur {sigma} px", ("effective_ratio", "laplacian_variance"), _blur(sigma))
        for sigma in (1, 2, 3, 4)
    ),
    *(Fake(f"noise {sigma}", ("noise_sigma",), _noise(sigma)) for sigma in (5, 10, 20)),
    Fake("unsharp 1 px x 1.5", ("overshoot",), _unsharp(1, 1.5)),
    Fake("unsharp 3 px x 2", ("overshoot",), _unsharp(3, 2)),
    Fake("grey", ("colourfulness",), _grey),
    Fake("eight colours", ("palette_share",), _posterised),
    Fake("letterbox bars", ("border_share",), _framed),
    Fake("collage of four", ("seam_share",), _collage),
    Fake("page of text", ("screen_score",), _page),
)
