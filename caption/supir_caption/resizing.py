"""A picture made smaller without a second copy of it: strips of rows first, then the columns of what is left.

Place in the flow: what the `tags` engine's networks are shown. Pillow keeps a picture of its own with four bytes a
pixel, 48 MB for 12 megapixels; here it only sees strips. The law: the pixels are those of Pillow's `resize`, which
works the two directions one after the other, too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_STRIP_ROWS = 64


def resized(
    rgb: NDArray[np.uint8],
    size: tuple[int, int],
    resample: Literal["bilinear", "bicubic"],
    columns: slice = slice(None),
) -> NDArray[np.uint8]:
    """Returns uint8 (height, columns, 3).

    Args:
        rgb: uint8 (H, W, 3); a view into another picture costs no copy.
        size: (width, height), px.
        resample: Pillow's filter; its support grows with the reduction, so nothing is left out.
        columns: of the result; what lies outside is not made.
    """
    from PIL import Image

    filter_ = Image.Resampling[resample.upper()]
    num_columns = len(range(size[0])[columns])
    narrow = np.empty((len(rgb), num_columns, 3), np.uint8)
    for start in range(0, len(rgb), _STRIP_ROWS):
        strip = Image.fromarray(np.ascontiguousarray(rgb[start : start + _STRIP_ROWS]))
        across = np.asarray(strip.resize((size[0], strip.height), filter_))
        narrow[start : start + _STRIP_ROWS] = across[:, columns]
    return np.asarray(Image.fromarray(narrow).resize((num_columns, size[1]), filter_))
