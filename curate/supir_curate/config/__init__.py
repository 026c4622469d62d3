"""The config: a section a step. `CurateConfig` is the whole of it."""

from supir_curate.config.curate import (
    MAX_DECODABLE_PIXELS,
    CurateConfig,
    FetchConfig,
    FetchPace,
    FetchPolicy,
    ProbeConfig,
    ScoringConfig,
    SourceConfig,
)
from supir_curate.config.pack import PackConfig

__all__ = [
    "MAX_DECODABLE_PIXELS",
    "CurateConfig",
    "FetchConfig",
    "FetchPace",
    "FetchPolicy",
    "PackConfig",
    "ProbeConfig",
    "ScoringConfig",
    "SourceConfig",
]
