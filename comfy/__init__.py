"""SUPIR's nodes for ComfyUI: this folder goes into `custom_nodes`, the packages into ComfyUI's Python, see README.

Place in the flow: ComfyUI imports the folder by its path and reads the two mappings.
Source: ComfyUI's documented interface of nodes (docs.comfy.org); names of nodes and inputs are in people's saved
graphs, so they do not change.
"""

from __future__ import annotations

import importlib.util
from typing import Any

if importlib.util.find_spec("supir_infer") is None:
    raise ImportError(
        "SUPIR's nodes need supir-stack in the Python that runs ComfyUI; type: "
        "python -m pip install '/path/to/supir-stack[infer]'"
    )

from .loading import SupirLoad, SupirLoadOnBase, SupirLora
from .restoring import SupirRestore
from .settings import SupirPreset, SupirSettingsSdxl, SupirSettingsSmall
from .vae import SupirVaeDecode, SupirVaeEncode

NODE_CLASS_MAPPINGS: dict[str, Any] = {
    "SupirLoad": SupirLoad,
    "SupirLoadOnBase": SupirLoadOnBase,
    "SupirLora": SupirLora,
    "SupirPreset": SupirPreset,
    "SupirRestore": SupirRestore,
    "SupirSettingsSdxl": SupirSettingsSdxl,
    "SupirSettingsSmall": SupirSettingsSmall,
    "SupirVaeDecode": SupirVaeDecode,
    "SupirVaeEncode": SupirVaeEncode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SupirLoad": "SUPIR Load",
    "SupirLoadOnBase": "SUPIR Load (SDXL + SUPIR file)",
    "SupirLora": "SUPIR LoRA",
    "SupirPreset": "SUPIR Preset",
    "SupirRestore": "SUPIR Restore",
    "SupirSettingsSdxl": "SUPIR Settings (SDXL)",
    "SupirSettingsSmall": "SUPIR Settings (mini)",
    "SupirVaeDecode": "SUPIR VAE Decode",
    "SupirVaeEncode": "SUPIR VAE Encode",
}
