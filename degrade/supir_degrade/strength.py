"""A gentler version of a recipe: the ranges that say how strong a step is keep their harmless end and are cut.

Place in the flow: `preview` shows one draw at several strengths. The law it keeps: probabilities, order and
number of draws stay, so one generator makes the same choices at every strength, only weaker.

Cut: `scale`, the factors of resizing and of `upscaler`, `min_cutoff` of `sinc`, `photo_side_px` of `shares`, and the
fields of `FROM_LOW` and `FROM_HIGH`. Whole: what else a step draws from, such as kernel sides and shapes, the cutoff of
a sinc kernel inside `blur`, `rounds` and `caps_px` of `shares`, `pitch` and `max_angle` of `moire`; `vae` has no range.
"""

from __future__ import annotations

import math
from typing import Any

from supir_console import UserError
from supir_degrade.bounds import Range
from supir_degrade.recipe import (
    Branch,
    OneOfStep,
    Recipe,
    SharesStep,
    Step,
)
from supir_degrade.steps import ResizeStep, SincStep, UpscalerStep

# Ranges of steps whose low end is the harmless one.
FROM_LOW = (
    "sigma",
    "poisson_scale",
    "shot",
    "read_sigma",
    "blur_sigma_px",
    "radius_px",
    "length_px",
    "weight",
    "crf",
)
# Those whose high end is.
FROM_HIGH = ("quality", "lens_sigma")


def weaken(recipe: Recipe, strength: float) -> Recipe:
    """Returns the recipe with the ranges above cut to `strength` of their width; 1 returns it as it is.

    Args:
        recipe: the full ranges.
        strength: above 0, at most 1.

    Raises:
        UserError: the strength is outside that range.
    """
    if not 0 < strength <= 1:
        raise UserError(f"strength {strength} is not in (0, 1]; 1 is the full recipe (--strength)")
    if strength == 1:
        return recipe
    changes = {
        "scale": _weaken_factors(recipe.scale, strength),
        "steps": _weaken_steps(recipe.steps, strength),
    }
    return recipe.model_copy(update=changes)


def _weaken_factors(factors: dict[float, float], strength: float) -> dict[float, float]:
    return {1 + (factor - 1) * strength: weight for factor, weight in factors.items()}


def _weaken_steps(steps: tuple[Step, ...], strength: float) -> tuple[Step, ...]:
    return tuple(_weaken_step(step, strength) for step in steps)


def _weaken_branches(branches: tuple[Branch, ...], strength: float) -> tuple[Branch, ...]:
    return tuple(b.model_copy(update={"steps": _weaken_steps(b.steps, strength)}) for b in branches)


def _weaken_step(step: Step, strength: float) -> Step:
    changes: dict[str, Any] = {}
    match step:
        case OneOfStep():
            changes["branches"] = _weaken_branches(step.branches, strength)
        case SharesStep():
            low, high = step.photo_side_px
            changes["photo_side_px"] = (low, low * (high / low) ** strength)
            changes["codecs"] = _weaken_branches(step.codecs, strength)
        case ResizeStep():
            changes["factor"] = tuple(1 + (bound - 1) * strength for bound in step.factor)
        case SincStep():
            changes["min_cutoff"] = math.pi - (math.pi - step.min_cutoff) * strength
        case _:
            for name in FROM_LOW:
                if hasattr(step, name):
                    changes[name] = _from_low(getattr(step, name), strength)
            for name in FROM_HIGH:
                if hasattr(step, name):
                    changes[name] = _from_high(getattr(step, name), strength)
            if isinstance(step, UpscalerStep):
                changes["factor"] = _weaken_factors(step.factor, strength)
    return step.model_copy(update=changes)


def _from_low(bounds: Range, strength: float) -> Range:
    low, high = bounds
    cut = low + (high - low) * strength
    return (low, round(cut) if isinstance(high, int) else cut)


def _from_high(bounds: Range, strength: float) -> Range:
    low, high = bounds
    cut = high - (high - low) * strength
    return (round(cut) if isinstance(high, int) else cut, high)
