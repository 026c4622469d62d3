"""Writes a photo folder's middles with one everyday fault each: what pictures suffer in phones, mails and on the web.

    python scripts/fault_pairs.py PHOTOS OUT [--side 256]
    for fault in OUT/*; do python benchmarks/restore_peers.py "$fault"; done

OUT/FAULT holds `lq/` and `hq/`, PNG of the same names and sizes. Unlike the draws of a recipe, a fault is the same for
every photo, so that its figures can be told apart. The same photos give the same bytes.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

Fault = Callable[[Image.Image, np.random.Generator], Image.Image]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
GAMMA = 2.2


def enlarged(factor: int, quality: int | None = None) -> Fault:
    """Reduced by the factor, as a JPEG if a quality is given, and enlarged again."""

    def fault(photo: Image.Image, _: np.random.Generator) -> Image.Image:
        small = photo.resize((photo.width // factor, photo.height // factor), Image.Resampling.BICUBIC)
        return (saved(small, quality) if quality else small).resize(photo.size, Image.Resampling.BICUBIC)

    return fault


def saved(photo: Image.Image, quality: int) -> Image.Image:
    """The photo after a JPEG file."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def noisy(sigma: float) -> Fault:
    """Gaussian noise of the deviation, of 255."""

    def fault(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
        return picture(np.asarray(photo, float) + rng.normal(0, sigma, (photo.height, photo.width, 3)))

    return fault


def moved(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    """Seven px of motion from left to right, and JPEG."""
    pixels = np.asarray(photo, float)
    shifted = [np.roll(pixels, shift, axis=1) for shift in range(-3, 4)]
    return saved(picture(np.mean(shifted, axis=0)), 85)


def dark_phone(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Few photons, half smoothed away, sharpened, JPEG: a phone in a dim room."""
    light = (np.asarray(photo, float) / 255) ** GAMMA
    light = rng.poisson(light * 400) / 400 + rng.normal(0, 0.01, light.shape)
    grainy = picture(light.clip(0, 1) ** (1 / GAMMA) * 255)
    half = Image.blend(grainy, grainy.filter(ImageFilter.MedianFilter(3)), 0.6)
    return saved(half.filter(ImageFilter.UnsharpMask(1.5, 120, 2)), 75)


def shared(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Reduced, saved, enlarged, sharpened and saved once more: a picture that went round."""
    return saved(enlarged(2, 70)(photo, rng).filter(ImageFilter.UnsharpMask(2, 100, 0)), 60)


def old_print(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Grey, soft, flat, grainy and yellowed; held against the photo in colour, so its figures tell runs apart only."""
    grey = np.asarray(photo.convert("L").filter(ImageFilter.GaussianBlur(1.2)), float) * 0.75 + 30
    grey += rng.normal(0, 9, grey.shape)
    return saved(picture(grey[..., None] * [1, 0.93, 0.8]), 70)


def picture(pixels: np.ndarray) -> Image.Image:
    """Levels, rounded and clipped."""
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


FAULTS: dict[str, Fault] = {
    "clean": lambda photo, _: photo,
    "jpeg40": lambda photo, _: saved(photo, 40),
    "jpeg20": lambda photo, _: saved(photo, 20),
    "noise10": noisy(10),
    "noise25": noisy(25),
    "blur": lambda photo, _: photo.filter(ImageFilter.GaussianBlur(1.5)),
    "x2": enlarged(2),
    "x3": enlarged(3),
    "x2-jpeg60": enlarged(2, 60),
    "x4-jpeg50": enlarged(4, 50),
    "motion": moved,
    "dark-phone": dark_phone,
    "shared": shared,
    "old-print": old_print,
}


def main() -> None:
    """Writes all pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=256, help="of the middle that is taken, px")
    options = parser.parse_args()
    for number, path in enumerate(sorted(options.photos.iterdir())):
        if path.suffix.lower() in SUFFIXES and (photo := middle(path, options.side)):
            for name, fault in FAULTS.items():
                rng = np.random.default_rng(number)
                keep(photo, options.out / name / "hq" / f"{path.stem}.png")
                keep(fault(photo, rng), options.out / name / "lq" / f"{path.stem}.png")


def middle(path: Path, side: int) -> Image.Image | None:
    """The middle of a photo, or None where it is smaller."""
    photo = Image.open(path).convert("RGB")
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side)) if min(left, top) >= 0 else None


def keep(photo: Image.Image, path: Path) -> None:
    """Writes a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path)


if __name__ == "__main__":
    main()
