"""Restores photos, measures what was restored and shows it as a page: the last stage of the chain.

Place in the flow: uses `supir_model` and `supir_console`; nothing imports it. The heavy parts (`restore`,
`colour`, `tiling`, `codec`) import torch and are imported where they are used.
"""

from supir_infer.settings import PRESETS, RestoreSettings

__all__ = ["PRESETS", "RestoreSettings"]
