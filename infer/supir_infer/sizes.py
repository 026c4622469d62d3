"""The three sizes of a restoration: what came in, what the network works on, what goes out.

Place in the flow: `restore` resizes by them, `folder` plans and estimates by them.
The law it keeps: the output is input x upscale whatever the working size is; `min_size_px` and snapping
never show.
Source: the reference's command line (bicubic, short side at least min_size, each side snapped).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from supir_console import UserError
from supir_infer.settings import RestoreSettings

AUTOMATIC_SCALE, ENLARGED_MEGAPIXELS = 2.0, 16.0
"""Of `working_scale: auto`: working side / output side of a picture that gains by it; the largest output it is for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Width and height in px of one restoration; `working` is a multiple of `snap_px` on both sides."""

    source: tuple[int, int]
    working: tuple[int, int]
    output: tuple[int, int]


def plan_sizes(source: tuple[int, int], settings: RestoreSettings) -> Sizes:
    """Returns the working and output size (width, height) in px for a picture of `source` px.

    Args:
        source: width and height of the input in px, after its orientation is applied.
        settings: `upscale`, `min_size_px`, `working_scale` (auto: 1), `snap_px` and `max_megapixels` are used.

    Raises:
        UserError: the working image would be larger than `max_megapixels`.
    """
    width, height = _working(source, settings, 1.0)
    if width * height > settings.max_megapixels * 1e6:
        raise UserError(
            f"a {source[0]}x{source[1]} picture needs a working image of {width}x{height} px, more than "
            f"max_megapixels={settings.max_megapixels:g}; lower --upscale or --min-size, or raise it by --set"
        )
    output = (max(1, round(source[0] * settings.upscale)), max(1, round(source[1] * settings.upscale)))
    return Sizes(source=source, working=(width, height), output=output)


def largest_sizes(source: tuple[int, int], settings: RestoreSettings) -> Sizes:
    """Returns `plan_sizes`, with `working_scale: auto` for a picture that gains by enlarging: the most it may cost."""
    sizes = plan_sizes(source, settings)
    if settings.working_scale != "auto" or math.prod(sizes.output) > ENLARGED_MEGAPIXELS * 1e6:
        return sizes
    working = _working(source, settings, AUTOMATIC_SCALE)
    return replace(sizes, working=working) if math.prod(working) <= settings.max_megapixels * 1e6 else sizes


def _working(source: tuple[int, int], settings: RestoreSettings, automatic: float) -> tuple[int, int]:
    """The working size; `automatic` stands for `working_scale: auto`."""
    wanted = [side * settings.upscale for side in source]
    scale = automatic if settings.working_scale == "auto" else settings.working_scale
    stretch, snap = max(scale, settings.min_size_px / min(wanted)), settings.snap_px
    width, height = (max(1, round(side * stretch / snap)) * snap for side in wanted)
    return width, height
