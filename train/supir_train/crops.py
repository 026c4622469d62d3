"""Where a training crop is taken from an image, and how it is brought to the training size.

The law it keeps: drawing and doing are apart. `choose_box` draws numbers, `cut` is a pure function of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TEXTURE_FLOOR = 16.0
"""Added to each cell of the texture map (0 to 255), so that flat regions keep a small chance."""


class TooSmallError(ValueError):
    """The image is smaller than the training crop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBox:
    """A square region of an image, pixels; `flip` mirrors it left to right."""

    x: int
    y: int
    side: int
    flip: bool

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The region as (x0, y0, x1, y1), pixels."""
        return self.x, self.y, self.x + self.side, self.y + self.side


def choose_box(
    rng: np.random.Generator,
    width: int,
    height: int,
    *,
    crop_px: int,
    max_downscale: float,
    texture: NDArray[np.uint8] | None,
) -> CropBox:
    """Returns a random square of at least `crop_px`, placed where the texture map is high.

    Args:
        width: width of the image, pixels; `height` likewise.
        max_downscale: the side is log-uniform between 1 and this many times `crop_px`.
        texture: uint8 (rows, columns) over the whole image, 0 flat to 255; None places the square uniformly.

    Raises:
        TooSmallError: the image's short side is under `crop_px`.
    """
    short_side = min(width, height)
    if short_side < crop_px:
        raise TooSmallError(f"{width}x{height} px is smaller than the crop of {crop_px} px")
    most = min(max_downscale, short_side / crop_px)
    side = min(short_side, round(crop_px * float(np.exp(rng.uniform(0.0, np.log(most))))))
    if texture is None:
        x = int(rng.integers(0, width - side + 1))
        y = int(rng.integers(0, height - side + 1))
    else:
        centre_x, centre_y = _textured_point(rng, width, height, texture)
        x = int(np.clip(centre_x - side // 2, 0, width - side))
        y = int(np.clip(centre_y - side // 2, 0, height - side))
    return CropBox(x=x, y=y, side=side, flip=bool(rng.random() < 0.5))


def cut(image: NDArray[np.uint8], box: CropBox, crop_px: int) -> NDArray[np.uint8]:
    """Returns the region as (crop_px, crop_px, 3) uint8, averaged down by area where it is larger.

    Args:
        image: RGB uint8 (H, W, 3).
    """
    import cv2

    region = image[box.y : box.y + box.side, box.x : box.x + box.side]
    if box.flip:
        region = region[:, ::-1]
    if box.side != crop_px:
        region = cv2.resize(np.ascontiguousarray(region), (crop_px, crop_px), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(region)


def _textured_point(
    rng: np.random.Generator, width: int, height: int, texture: NDArray[np.uint8]
) -> tuple[float, float]:
    weights = texture.astype(np.float64).ravel() + TEXTURE_FLOOR
    cell = int(rng.choice(weights.size, p=weights / weights.sum()))
    rows, columns = texture.shape
    row, column = divmod(cell, columns)
    return (column + rng.random()) * width / columns, (row + rng.random()) * height / rows
