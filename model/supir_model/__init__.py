"""The SUPIR network: a frozen SDXL-shaped prior, its control encoder, the connectors and the robust encoder.

Place in the flow: `train` fits it, `infer` runs it; it imports nothing of ours. `load_supir` is the door.
Law: importing this package loads no torch; the classes are imported on first use.
Source: Yu et al., "Scaling Up to Excellence", arXiv 2401.13627.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supir_model.presets import PRESETS

if TYPE_CHECKING:
    from supir_model.load import load_supir
    from supir_model.supir import Supir
    from supir_model.text import TextConditioning

__all__ = ["PRESETS", "Supir", "TextConditioning", "load_supir"]

_HOMES = {"Supir": "supir", "TextConditioning": "text", "load_supir": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'supir_model' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"supir_model.{_HOMES[name]}"), name)
