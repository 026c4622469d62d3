"""The curator's config: a section a step, recorded by the step that it belongs to.

Place in the flow: `cli` reads it; `score` records source, fetch.policy and probe in `plan.json`, `select` its rules in
`selection.json`. The law: a later step works with what was recorded, and a key that is given to it with another
value is refused; a key at its default counts as not given.
The pace of fetching, and whether its bytes are kept, decide nothing and are not recorded.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, StrictInt

from supir_console import UserError
from supir_curate.config.differences import differences
from supir_curate.config.pack import PackConfig
from supir_curate.config.select import SelectConfig
from supir_curate.scorers.config import AssessConfig
from supir_curate.strict import StrictConfig

HASH_COLUMNS = ("sha256", "md5")
MAX_DECODABLE_PIXELS = 178_956_970  # Pillow refuses anything larger as a decompression bomb


class SourceConfig(StrictConfig):
    """How the source is read."""

    part_size: int = Field(
        default=1000, ge=1, description="candidates in one part, the unit of work and of resuming"
    )
    url_column: str = Field(
        default="",
        description="column, or key of a sidecar's JSON, with the URL; empty: url, URL, image_url, …",
    )
    image_column: str = Field(
        default="",
        description="Parquet column with the picture's bytes; empty: image, jpg, … if it is binary or a struct",
    )
    text_column: str = Field(
        default="",
        description="column or key with the alt text; empty: caption, TEXT, text, …; lists are joined by ' | '",
    )
    licence_column: str = Field(
        default="", description="column or key with the licence; empty: licence or license"
    )
    score_columns: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="columns or keys with numbers, such as punsafe, that rules may use like our scores",
    )
    role_column: str = Field(
        default="",
        description="column or key that says photo, face or negative; it goes before select.roles; empty: none",
    )
    hash_columns: tuple[str, ...] = Field(
        default=HASH_COLUMNS,
        strict=False,
        description="columns or keys with the SHA-256 or MD5 that bytes must have; the first there counts; []: none",
    )
    licence: str = Field(
        default="", description="licence of every candidate of which no file says one, or may have said one"
    )


class FetchPolicy(StrictConfig):
    """What may be fetched. Recorded."""

    user_agent: str = Field(
        default="supir-curate/0.1 (+https://arxiv.org/abs/2401.13627)",
        min_length=1,
        description="name that sites see and robots.txt may address; add how to reach you",
    )
    honour_robots: bool = Field(
        default=True, description="obey robots.txt (RFC 9309); while it cannot be had nothing is fetched"
    )
    honour_opt_out: bool = Field(
        default=True, description="obey X-Robots-Tag noai, noimageai and tdm-reservation: 1"
    )
    allowed_ports: tuple[StrictInt, ...] = Field(
        default=(80, 443), strict=False, description="TCP ports of public hosts that may be asked"
    )
    max_bytes: int = Field(default=32 * 2**20, ge=1, description="bytes of a picture; a larger one fails")
    max_redirects: int = Field(
        default=5, ge=0, description="redirects followed; each is checked like the first URL"
    )


class FetchPace(StrictConfig):
    """How fast. Not recorded: a resumed run may go slower."""

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


class FetchConfig(StrictConfig):
    """Fetching of URL sources."""

    policy: FetchPolicy = Field(default=FetchPolicy(), description="what may be fetched")
    pace: FetchPace = Field(default=FetchPace(), description="how fast")
    keep_spool: bool = Field(
        default=False,
        description="keep the fetched bytes after packing, to pack them under other limits without fetching",
    )


class ProbeConfig(StrictConfig):
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


class CurateConfig(StrictConfig):
    """Everything that decides what a dataset holds."""

    source: SourceConfig = Field(default=SourceConfig(), description="how the source is read")
    fetch: FetchConfig = Field(default=FetchConfig(), description="fetching of URL sources")
    probe: ProbeConfig = Field(default=ProbeConfig(), description="measuring")
    assess: AssessConfig = Field(default=AssessConfig(), description="scorers with weights")
    select: SelectConfig = Field(default=SelectConfig(), description="deciding; may change after scoring")
    pack: PackConfig = Field(default=PackConfig(), description="writing of shards")

    def scoring(self) -> ScoringConfig:
        """Returns everything that can change the ledger."""
        return ScoringConfig(source=self.source, policy=self.fetch.policy, probe=self.probe)

    def with_recorded(
        self, dataset: str, scoring: ScoringConfig, select: SelectConfig | None = None
    ) -> CurateConfig:
        """Returns this config with the sections that earlier steps recorded, as a later step works with it.

        Args:
            dataset: named in the message.
            scoring: what the ledger was made under.
            select: what the selection was made under; None where it is still to be made.

        Raises:
            UserError: a key differs from what was recorded, and from its default.
        """
        fetch = self.fetch.model_copy(update={"policy": scoring.policy})
        recorded = CurateConfig(
            source=scoring.source,
            fetch=fetch,
            probe=scoring.probe,
            assess=self.assess,
            select=select or self.select,
            pack=self.pack,
        )
        changed = differences(self, recorded, default=CurateConfig())
        if changed:
            raise UserError(
                f"{dataset} was made with {', '.join(changed)}; leave out what an earlier step recorded,"
                " or begin with that step and a new dataset"
            )
        return recorded

    def record(self) -> dict[str, Any]:
        """Returns what `dataset.json` records: all but the scorers, and what of fetching decides nothing.

        Scorers' answers name their config and weights themselves, whichever command had them made.
        """
        return self.model_dump(mode="json", exclude={"fetch": {"pace", "keep_spool"}, "assess": True})


class ScoringConfig(StrictConfig):
    """The part of the config under which a ledger was made."""

    source: SourceConfig
    policy: FetchPolicy
    probe: ProbeConfig
