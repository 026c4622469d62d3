"""What lies under transparent pixels: colours of their neighbours, so that what nobody sees does not leak.

Place in the flow: `images` fills a picture once, when it is read; colours and alpha are then resized apart.
The law it keeps: where anything of a pixel can be seen its colour stays; a resized picture laid over any ground shows
what resizing with premultiplied alpha shows, no ring of the colour that was hidden.
Source: pull and push over halved pictures, as in Gortler et al. 1996, "The Lumigraph", section 3.4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.float32]


def fill_hidden(rgb: FloatArray, alpha: FloatArray) -> FloatArray:
    """Returns `rgb` with the colours of wholly transparent pixels taken from the visible ones around.

    Args:
        rgb: (H, W, 3) in 0..1.
        alpha: (H, W) in 0..1.

    Limits: a picture of which nothing is visible stays as it is.
    """
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return rgb
    around = _spread(rgb * alpha[..., None], alpha)
    return np.where(hidden[..., None], around, rgb).astype(np.float32)


def _spread(premultiplied: FloatArray, alpha: FloatArray) -> FloatArray:
    """The visible colours where there are any, those of the next coarser picture elsewhere."""
    height, width = alpha.shape
    colours = premultiplied / np.maximum(alpha, np.float32(1e-6))[..., None]
    if alpha.min() > 0 or max(height, width) == 1:
        return colours
    half = ((width + 1) // 2, (height + 1) // 2)
    coarser = _spread(
        _scaled(premultiplied, half, Image.Resampling.BOX), _scaled(alpha, half, Image.Resampling.BOX)
    )
    below = _scaled(coarser, (width, height), Image.Resampling.BILINEAR)
    return np.where((alpha > 0)[..., None], colours, below).astype(np.float32)


def _scaled(values: FloatArray, size: tuple[int, int], method: Image.Resampling) -> FloatArray:
    channels = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
    scaled = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, method))
        for channel in channels
    ]
    return scaled[0] if values.ndim == 2 else np.stack(scaled, axis=-1)
