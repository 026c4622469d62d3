"""Which numbers a recipe may hold: ranges, weights and sizes outside of these give a broken picture or none.

Place in the flow: `recipe` builds its fields from these types; nothing else checks a recipe's numbers.
The law it keeps: every recipe that these accept can be drawn and rendered, at both ends of every range, up to the
longest side that a codec takes (`codecs`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from supir_degrade.trace import MAX_KERNEL_PX, ColourMatrix, Interpolation, KernelKind, Subsampling

MAX_WEIGHT = 1e9


def within(lowest: float, highest: float) -> AfterValidator:
    """Returns the check of a range [low, high]: lowest <= low <= high <= highest.

    Args:
        lowest: smallest number that makes sense, in the field's unit.
        highest: largest one.
    """

    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if not lowest <= bounds[0] <= bounds[1] <= highest:
            raise ValueError(f"a range is [low, high] within {lowest:g}..{highest:g}, got {list(bounds)}")
        return bounds

    return AfterValidator(check)


def _around_one(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0.1 <= bounds[0] <= 1 <= bounds[1] <= 20:
        raise ValueError(f"a shape range is [low, high] around 1 within 0.1..20, got {list(bounds)}")
    return bounds


def _kernel_sizes(sizes: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= sizes[0] <= sizes[1] <= MAX_KERNEL_PX or not sizes[0] % 2 or not sizes[1] % 2:
        raise ValueError(
            f"kernel sizes are [low, high], both odd, within 1..{MAX_KERNEL_PX}, got {list(sizes)}"
        )
    return sizes


def check_weights(weights: dict[Any, float]) -> dict[Any, float]:
    """Returns the weights.

    Raises:
        ValueError: one is negative, or their sum is 0 or too large.
    """
    if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) <= MAX_WEIGHT:
        raise ValueError(
            f"weights are zero or more, not all zero, {MAX_WEIGHT:g} in all at most; got {weights}"
        )
    return weights


Range = tuple[float, float]
QualityRange = Annotated[tuple[int, int], within(1, 100)]
ShapeRange = Annotated[Range, AfterValidator(_around_one)]
Probability = Annotated[float, Field(ge=0, le=1)]
KernelWeights = Annotated[dict[KernelKind, float], AfterValidator(check_weights)]
SubsamplingWeights = Annotated[dict[Subsampling, float], AfterValidator(check_weights)]
MatrixWeights = Annotated[dict[ColourMatrix, float], AfterValidator(check_weights)]
ScaleWeights = Annotated[dict[Annotated[float, Field(ge=1, le=64)], float], AfterValidator(check_weights)]
KernelSizes = Annotated[tuple[int, int], AfterValidator(_kernel_sizes)]
Interpolations = Annotated[tuple[Interpolation, ...], Field(min_length=1)]
