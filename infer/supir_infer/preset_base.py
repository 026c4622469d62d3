"""Presets are bound to the model they were made for: another one is refused, and what else they need is said.

Place in the flow: `cli` asks before it loads the model. `--print-config` is free: it is the way to take a preset's
numbers elsewhere, knowingly.
"""

from __future__ import annotations

import sys

from supir_console import UserError
from supir_infer.model_source import ModelSource
from supir_infer.settings import PRESET_BASES, Base

SIZES = {"sdxl": "models with SDXL's latent", "small": "the small models (mini, tiny)"}


def tell_needs(preset: str | None, source: ModelSource) -> None:
    """Says on standard error what a preset needs, see `require_fitting_preset`; nothing where none was asked for."""
    if preset and (needed := require_fitting_preset(preset, source)):
        sys.stderr.write(f"{needed}\n")


def require_fitting_preset(preset: str, source: ModelSource) -> str:
    """Returns what a preset needs that nobody can check, as one line; "" where it needs nothing more.

    Args:
        preset: one of `PRESETS`.
        source: the model that it is to be used with.

    Raises:
        UserError: it was made for models of the other size.
    """
    base = PRESET_BASES[preset]
    size = "sdxl" if source.is_sdxl() else "small"
    if base.size != size:
        fitting = ", ".join(name for name, other in PRESET_BASES.items() if other.size == size)
        raise UserError(
            f"--preset {preset} was made for {SIZES[base.size]}, and {source.name} is one of {SIZES[size]}; use "
            f"{fitting}, or take its numbers knowingly: --preset {preset} --print-config > its.yaml, then --config "
            "its.yaml"
        )
    return f"preset {preset}: made for {base.needs}{_where(base, source)}" if base.needs else ""


def _where(base: Base, source: ModelSource) -> str:
    if not base.lora or source.changes.loras:
        return ""
    return ", and no --lora is given: right only where the base is such a one"
