"""The measures of our own that `supir-eval` adds to the metrics: consistency with the LQ, colour shift, grids.

Place in the flow: `evaluate` asks for them by name, beside the metrics of `supir_quality`. They see the whole picture,
without the crop border, since the LQ has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from supir_console import installed_version
from supir_infer.against_lq import colour_shift_levels, consistency_db
from supir_infer.artefacts import GRID_MIN_PX, Found, grid_levels
from supir_infer.images import FloatImage
from supir_quality.metric import RGB, Identity

Compute = Callable[[FloatImage, FloatImage | None], Found]


@dataclass(frozen=True, slots=True)
class OwnMeasure:
    """A measure ready to run: (restored, LQ) of (H, W, 3) and (h, w, 3) in 0..1 to a figure and where it was found."""

    identity: Identity
    compute: Compute
    min_side_px: int = 1


def consistency() -> OwnMeasure:
    """Returns `consistency_db`."""
    how = "PSNR of the LQ and the restoration resized and blurred to it, dB"
    return OwnMeasure(_identity("consistency", how, RGB, "higher", needs_lq=True), _on_lq(consistency_db))


def colour_shift() -> OwnMeasure:
    """Returns `colour_shift_levels`."""
    how = "RMS of 8x8 cells' colours against the LQ's, levels of 255"
    return OwnMeasure(
        _identity("colour_shift", how, RGB, "lower", needs_lq=True), _on_lq(colour_shift_levels)
    )


def grid() -> OwnMeasure:
    """Returns `grid_levels`."""
    how = "RMS of what repeats every 2 to 16 px, levels of 255"
    identity = _identity("grid", how, "luma of BT.601's weights, 0..255", "lower", needs_lq=False)
    return OwnMeasure(identity, lambda restored, _: grid_levels(restored), GRID_MIN_PX)


OWN_MEASURES: dict[str, Callable[[], OwnMeasure]] = {
    "consistency": consistency,
    "colour_shift": colour_shift,
    "grid": grid,
}


def _on_lq(measure: Callable[[FloatImage, FloatImage], float]) -> Compute:
    def compute(restored: FloatImage, lq: FloatImage | None) -> Found:
        assert lq is not None, "it needs the LQ"
        return Found(measure(restored, lq))

    return compute


def _identity(
    name: str, how: str, colour_space: str, better: Literal["higher", "lower"], *, needs_lq: bool
) -> Identity:
    return Identity(
        metric=name,
        implementation=f"supir-stack {installed_version('supir-stack')}, {how}",
        weights=(),
        colour_space=colour_space,
        better=better,
        needs_reference=False,
        needs_lq=needs_lq,
    )
