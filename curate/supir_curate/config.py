"""The curator's config. The scoring hash covers what changes a score; rules and packing can change afterwards.

Place in the flow: `cli` reads it; each step gets its own section.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import Field, field_validator

from supir_console import Config, config_hash
from supir_curate.rules import DEFAULT_RULES, Rule, Rules

MAX_DECODABLE_PIXELS = 178_956_970  # Pillow refuses anything larger as a decompression bomb


class SourceConfig(Config):
    """How the source is read."""

    part_size: int = Field(
        default=1000, ge=1, description="candidates in one part, the unit of work and of resuming"
    )
    url_column: str = Field(default="", description="Parquet column with the URL; empty: url or URL")
    text_column: str = Field(
        default="", description="Parquet column with the alt text; empty: caption, TEXT or text"
    )
    licence_column: str = Field(
        default="", description="Parquet column with the licence; empty: licence or license"
    )
    licence: str = Field(default="", description="licence of every candidate that names none itself")


class FetchPolicy(Config):
    """What may be fetched. Part of the scoring hash."""

    user_agent: str = Field(
        default="supir-curate/0.1 (+https://arxiv.org/abs/2401.13627)",
        min_length=1,
        description="name that sites see and robots.txt may address; add how to reach you",
    )
    honour_robots: bool = Field(
        default=True, description="obey robots.txt (RFC 9309); unreachable counts as no"
    )
    honour_opt_out: bool = Field(
        default=True, description="obey X-Robots-Tag noai, noimageai and tdm-reservation: 1"
    )
    allowed_ports: tuple[int, ...] = Field(
        default=(80, 443), description="TCP ports of public hosts that may be asked"
    )
    max_bytes: int = Field(default=32 * 2**20, ge=1, description="bytes of a picture; a larger one fails")
    max_redirects: int = Field(
        default=5, ge=0, description="redirects followed; each is checked like the first URL"
    )


class FetchPace(Config):
    """How fast. Not part of the scoring hash: a resumed run may go slower."""

    concurrency: int = Field(default=128, ge=1, description="requests under way a fetcher")
    per_host_concurrency: int = Field(
        default=4, ge=1, description="requests under way to one host and fetcher"
    )
    per_host_delay_s: float = Field(
        default=0.1, ge=0, description="seconds between requests to one host, all fetchers"
    )
    timeout_s: float = Field(
        default=60, gt=0, description="seconds from asking to the last byte of one attempt"
    )
    retries: int = Field(default=2, ge=0, description="further attempts after a failure that may pass")
    backoff_s: float = Field(
        default=1, ge=0, description="seconds before the first retry, doubled for each further"
    )


class FetchConfig(Config):
    """Fetching of URL sources."""

    policy: FetchPolicy = Field(default=FetchPolicy(), description="what may be fetched")
    pace: FetchPace = Field(default=FetchPace(), description="how fast")


class ProbeConfig(Config):
    """Measuring."""

    working_side_px: int = Field(
        default=1024,
        ge=64,
        description="short side to which a larger picture is reduced for texture and sharpness",
    )
    max_pixels: int = Field(
        default=80_000_000,
        ge=1,
        le=MAX_DECODABLE_PIXELS,
        description="width times height; a larger picture fails",
    )


class SelectConfig(Config):
    """Deciding, by a query over the ledger."""

    rules: Rules = Field(
        default=DEFAULT_RULES,
        description="reason: score, comparison, limit (null: off). Keys given are laid over this table",
    )
    max_hash_distance: int | None = Field(
        default=4,
        ge=0,
        le=11,
        description="bits of 64 in which near duplicates may differ; null keeps them all",
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _merged(cls, given: Any) -> Any:
        """Returns the default table with the given keys laid over it, so that one limit can be set alone."""
        if not isinstance(given, dict):
            return given
        table: dict[str, Any] = {str(reason): rule.model_dump() for reason, rule in DEFAULT_RULES.items()}
        for reason, rule in given.items():
            if str(reason) not in table:
                nearest = difflib.get_close_matches(str(reason), table, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"no rule gives {reason!r}; did you mean {nearest!r}? All: {', '.join(table)}"
                )
            changes = rule.model_dump() if isinstance(rule, Rule) else rule
            table[str(reason)] = {**table[str(reason)], **changes} if isinstance(changes, dict) else changes
        return table


class PackConfig(Config):
    """Writing of shards."""

    max_side_px: int = Field(
        default=2048, ge=64, description="a picture with no longer side keeps its original bytes"
    )
    size_px: int = Field(default=1024, ge=64, description="reducing never takes the short side below this")
    jpeg_quality: int = Field(
        default=97, ge=1, le=100, description="of pictures that had to be encoded again (4:4:4)"
    )


class CurateConfig(Config):
    """Everything that decides what a dataset holds."""

    source: SourceConfig = Field(default=SourceConfig(), description="how the source is read")
    fetch: FetchConfig = Field(default=FetchConfig(), description="fetching of URL sources")
    probe: ProbeConfig = Field(default=ProbeConfig(), description="measuring")
    select: SelectConfig = Field(default=SelectConfig(), description="deciding; may change after scoring")
    pack: PackConfig = Field(default=PackConfig(), description="writing of shards")

    def scoring_hash(self) -> str:
        """Returns the hash of everything that can change the ledger, 16 hex digits."""
        return config_hash(ScoringConfig(source=self.source, policy=self.fetch.policy, probe=self.probe))


class ScoringConfig(Config):
    """The part of the config under which a ledger was made."""

    source: SourceConfig
    policy: FetchPolicy
    probe: ProbeConfig
