"""The base of every section of the config."""

from __future__ import annotations

from pydantic import ConfigDict

from supir_console import Config


class StrictConfig(Config):
    """Base of the curator's config: `true` is no number, and neither is "3"."""

    model_config = ConfigDict(strict=True)
