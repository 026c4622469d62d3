"""What a vision-language model is given of a picture: as large, and in the shape, as its own processor will have it.

Place in the flow: the CPU half of every engine that asks a model; pure functions of a picture and the processor's
settings. The law: what is given is never cut off by the processor, and never larger than the processor keeps, so
that the work of shrinking is done here, in a thread beside the model, and once.

Four ways to see, read from the image processor's own settings:

square   resize of the shorter side and a cut to a square (CLIP: LLaVA-1.5) would lose the ends of a picture: it is
         padded to the square with the processor's mean colour, as LLaVA-1.5 was trained
exact    one size whatever the shape (SigLIP): resized to it, as the processor would
pixels   between a least and a greatest number of pixels, sides in steps (Qwen2-VL, Qwen2.5-VL, Qwen3-VL)
tiles    as it is; a picture larger than the processor's largest grid of tiles (LLaVA-NeXT) is shrunk to it

A processor that says none of these gets the picture as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST_SHAPE = 100.0  # longer side over shorter: beyond it processors refuse (Qwen: 200) or see nothing


# Pillow averages blocks down to three times the size before it resamples: a ninth of the time for 12 megapixels, and
# .3 levels of difference (mean over photos reduced 5 times).
_REDUCING_GAP = 3.0
# What processors call cutting a picture into tiles of `size` (InternVL, Llama 4, Idefics, Gemma 3): they want it whole.
_TILING = ("max_patches", "max_image_tiles", "crop_to_patches", "do_image_splitting", "do_pan_and_scan")


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is given to a model.

    Attributes:
        way: square, exact, pixels, tiles or as_is.
        size: (width, height), px: of the square, of the exact size, or of the largest grid of tiles.
        pixels: least and greatest number, with `pixels`.
        step_px: what both sides are multiples of, with `pixels`.
        max_pixels: the user's own bound; a picture that is given has no more.
        colour: of the padding, RGB.
        resample: Pillow's filter.
    """

    way: str = "as_is"
    size: tuple[int, int] = (0, 0)
    pixels: tuple[int, int] = (0, 0)
    step_px: int = 1
    max_pixels: int | None = None
    colour: tuple[int, int, int] = (0, 0, 0)
    resample: int = 3  # bicubic

    def of(self, image: Image) -> Image:
        """Returns the picture as the model is given it.

        Args:
            image: RGB, any size.
        """
        from PIL.Image import Resampling
        from PIL.ImageOps import pad

        filter_ = Resampling(self.resample)
        image = _not_too_long(image, filter_)
        if self.way == "square":
            return pad(_within(image, self.size, filter_), self.size, method=filter_, color=self.colour)
        if self.way == "exact":
            return _resized(image, self.size, filter_)
        if self.max_pixels is not None:
            image = _resized(image, _bounded(image.size, self.max_pixels), filter_)
        if self.way == "pixels":
            return _resized(image, stepped_size(image.size, self.pixels, self.step_px), filter_)
        if self.way == "tiles" and (image.width > self.size[0] or image.height > self.size[1]):
            return _within(image, self.size, filter_)
        return image


def view_of(settings: Mapping[str, Any], max_megapixels: float | None = None) -> View:
    """Returns how the model behind an image processor is given pictures.

    Args:
        settings: `to_dict()` of a transformers image processor.
        max_megapixels: of a picture that is given, at most; None leaves it to the processor.
    """
    size = _mapping(settings.get("size"))
    resample = int(settings.get("resample") or 3)
    colour = _mean_colour(settings)
    bound = None if max_megapixels is None else int(max_megapixels * 1e6)
    grid = settings.get("image_grid_pinpoints")
    if grid:
        largest = max(int(height) for height, _ in grid), max(int(width) for _, width in grid)
        return View("tiles", (largest[1], largest[0]), max_pixels=bound, resample=resample)
    cut = _mapping(settings.get("crop_size"))
    if settings.get("do_center_crop") and cut:
        side = int(min(cut.values()))
        return View("square", (side, side), colour=colour, resample=resample)
    if any(settings.get(key) for key in _TILING):
        return View(max_pixels=bound, resample=resample)
    if {"height", "width"} <= size.keys() and settings.get("do_resize", True):
        return View("exact", (int(size["width"]), int(size["height"])), resample=resample)
    patch, merge = settings.get("patch_size"), settings.get("merge_size")
    least = settings.get("min_pixels") or size.get("shortest_edge")
    most = settings.get("max_pixels") or size.get("longest_edge")
    if isinstance(patch, int) and isinstance(merge, int) and least and most:
        return View(
            "pixels",
            pixels=(int(least), int(most)),
            step_px=patch * merge,
            max_pixels=bound,
            resample=resample,
        )
    return View(max_pixels=bound, resample=resample)


def stepped_size(size: tuple[int, int], pixels: tuple[int, int], step_px: int) -> tuple[int, int]:
    """Returns the nearest (width, height) whose sides are multiples and whose area lies within the bounds.

    Source: `smart_resize` of transformers' Qwen2-VL image processor; the same rounding, so that what this gives
    is what that would make, and is left as it is.
    """
    (width, height), (least, most) = size, pixels
    sides = [round(side / step_px) * step_px for side in (width, height)]
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(width * height / most)
        sides = [max(step_px, math.floor(side / shrink / step_px) * step_px) for side in (width, height)]
    elif sides[0] * sides[1] < least:
        grow = math.sqrt(least / (width * height))
        sides = [math.ceil(side * grow / step_px) * step_px for side in (width, height)]
    return max(step_px, sides[0]), max(step_px, sides[1])


def _bounded(size: tuple[int, int], most: int) -> tuple[int, int]:
    shrink = math.sqrt(most / (size[0] * size[1]))
    return size if shrink >= 1 else (max(1, int(size[0] * shrink)), max(1, int(size[1] * shrink)))


def _not_too_long(image: Image, resample: Any) -> Image:
    """A picture of a few rows or columns is widened: processors refuse it, and its caption would be lost."""
    longer, shorter = max(image.size), min(image.size)
    if longer <= _LONGEST_SHAPE * shorter:
        return image
    side = math.ceil(longer / _LONGEST_SHAPE)
    return image.resize((max(image.width, side), max(image.height, side)), resample)


def _within(image: Image, size: tuple[int, int], resample: Any) -> Image:
    """As large as fits into `size` in its own shape: `PIL.ImageOps.contain`, which cannot be told of a reducing gap."""
    (width, height), (most_width, most_height) = image.size, size
    if width * most_height > height * most_width:
        return _resized(image, (most_width, round(height / width * most_width)), resample)
    return _resized(image, (round(width / height * most_height), most_height), resample)


def _resized(image: Image, size: tuple[int, int], resample: Any) -> Image:
    return image if image.size == size else image.resize(size, resample, reducing_gap=_REDUCING_GAP)


def _mean_colour(settings: Mapping[str, Any]) -> tuple[int, int, int]:
    mean = settings.get("image_mean") or (0.0, 0.0, 0.0)
    red, green, blue = (int(255 * float(value)) for value in mean)
    return red, green, blue


def _mapping(value: Any) -> dict[str, Any]:
    """A size in any of the forms that processors keep it in; empty for none."""
    if value is None:
        return {}
    if isinstance(value, int):
        return {"shortest_edge": value}
    return {key: side for key, side in dict(value).items() if side}
