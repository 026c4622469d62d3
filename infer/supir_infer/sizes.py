"""The three sizes of a restoration: what came in, what the network works on, what goes out.

Place in the flow: `restore` resizes by them, `folder` plans and estimates by them.
The law it keeps: the output is input x upscale whatever the working size is; `min_size_px` and snapping
never show.
Source: the reference's command line (bicubic, short side at least min_size, each side snapped).
"""

from __future__ import annotations

from dataclasses import dataclass

from supir_console import UserError
from supir_infer.settings import RestoreSettings


@dataclass(frozen=True, slots=True)
class Sizes:
    """Width and height in px of one restoration; `working` is a multiple of `snap_px` on both sides."""

    source: tuple[int, int]
    working: tuple[int, int]
    output: tuple[int, int]


def plan_sizes(source: tuple[int, int], settings: RestoreSettings, automatic_scale: float = 1.0) -> Sizes:
    """Returns the working and output size (width, height) in px for a picture of `source` px.

    Args:
        source: width and height of the input in px, after its orientation is applied.
        settings: `upscale`, `min_size_px`, `working_scale`, `snap_px` and `max_megapixels` are used.
        automatic_scale: what stands for `working_scale: auto`, see `strength.automatic_scale`.

    Raises:
        UserError: the working image would be larger than `max_megapixels`.
    """
    wanted = [side * settings.upscale for side in source]
    scale = automatic_scale if settings.working_scale == "auto" else settings.working_scale
    stretch = max(scale, settings.min_size_px / min(wanted))
    snap = settings.snap_px
    width, height = (max(1, round(side * stretch / snap)) * snap for side in wanted)
    if width * height > settings.max_megapixels * 1e6:
        raise UserError(
            f"a {source[0]}x{source[1]} picture needs a working image of {width}x{height} px, more than "
            f"max_megapixels={settings.max_megapixels:g}; lower --upscale or --min-size, or raise it by --set"
        )
    output = (max(1, round(wanted[0])), max(1, round(wanted[1])))
    return Sizes(source=source, working=(width, height), output=output)
