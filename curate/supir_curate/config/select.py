"""The select section of the config: the table of rules, roles, quotas.

Place in the flow: part of `config`; recorded in `selection.json`. The law: keys given are laid over the default
table, so that one limit can be set alone, and a misspelt reason is refused rather than added.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from supir_curate.config.rules import DEFAULT_RULES, Keep, Rule, Rules
from supir_curate.strict import StrictConfig
from supir_curate.verdict import Reason
from supir_shards import Role


class RoleRule(StrictConfig):
    """Which candidates have a role: by their URL or path, by a score, or by both."""

    url: str = Field(default="", description="pattern of the URL or path, such as faces/*; empty: any")
    score: str = Field(
        default="", description="score that is compared, such as a face detector's; empty: none"
    )
    keep: Keep = Field(default=">=", description="how the score must compare with the limit")
    limit: float = Field(
        default=0, description="in the score's unit; a candidate without a value does not pass"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.url and not self.score:
            raise ValueError("a role needs a pattern (url: faces/*) or a score with its limit")
        return self


class Quota(StrictConfig):
    """How many candidates of a role are kept: the best ones by a score."""

    count: int = Field(ge=0, description="candidates of the role that are kept")
    score: str = Field(default="", description="score that ranks them; empty: effective pixels a side")
    prefer: Literal["highest", "lowest"] = Field(default="highest", description="which scores are best")


class SimilarConfig(StrictConfig):
    """Near duplicates by a scorer's embeddings, besides those by hash."""

    scorer: str = Field(
        default="mobilenet", description="scorer with embeddings that has looked at all that passes"
    )
    min_cosine: float = Field(
        default=0.86, gt=0, le=1, description="cosine of two embeddings from which pictures are the same"
    )


RoleRules = dict[Role, RoleRule]
Quotas = dict[Role, Quota]


class SelectConfig(StrictConfig):
    """Deciding, by a query over the ledger."""

    rules: Rules = Field(
        default=DEFAULT_RULES,
        description="reason: score, comparison, limit (a number, {quantile: 0.05}, {top: 0.5}; null: off)."
        " Keys given are laid over this table; a new reason names all three",
    )
    max_hash_distance: int | None = Field(
        default=4,
        ge=0,
        le=11,
        description="bits of 64 in which near duplicates may differ; null keeps them all",
    )
    similar: SimilarConfig | None = Field(
        default=None,
        description="near duplicates by embedding too, as {scorer: mobilenet, min_cosine: 0.86}; null: hashes alone",
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="scored datasets, such as evaluation sets, whose near duplicates are dropped",
    )
    roles: RoleRules = Field(
        default={},
        description="role: url pattern and/or score, comparison, limit, such as face: {url: faces/*}; others are"
        " photos",
    )
    quotas: Quotas = Field(
        default={},
        description="role: how many are kept, such as face: 70000, or {count, score, prefer} to rank them by a score",
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _merged(cls, given: Any) -> Any:
        """Returns the default table with the given keys laid over it, so that one limit can be set alone."""
        if not isinstance(given, dict):
            return given
        table: dict[str, Any] = {str(reason): rule.model_dump() for reason, rule in DEFAULT_RULES.items()}
        for reason, rule in given.items():
            changes = rule.model_dump() if isinstance(rule, Rule) else rule
            if str(reason) not in table:
                _require_new(str(reason), changes, list(table))
            old = table.get(str(reason), {})
            table[str(reason)] = {**old, **changes} if isinstance(changes, dict) else changes
        return table

    @field_validator("roles", mode="before")
    @classmethod
    def _roles(cls, given: Any) -> Any:
        return _by_role(given)

    @field_validator("quotas", mode="before")
    @classmethod
    def _quotas(cls, given: Any) -> Any:
        return _by_role(given, shorthand="count")


def _require_new(reason: str, rule: Any, known: list[str]) -> None:
    """Checks that a reason that no default rule gives is meant as a new rule.

    Raises:
        ValueError: it is not a whole rule, its name is no name, or means something else.
    """
    if not (isinstance(rule, dict) and {*Rule.model_fields} <= {*rule}):
        nearest = difflib.get_close_matches(reason, known, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"no rule gives {reason!r}; did you mean {nearest!r}? All: {', '.join(known)}."
            " A new rule names score, keep and limit"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", reason) or reason in list(Reason):
        raise ValueError(
            f"a new rule cannot be called {reason!r}; use letters, digits and _, such as low_aesthetic"
        )


def _by_role(given: Any, shorthand: str = "") -> Any:
    """Returns a config mapping with its keys as roles, and plain values under the key `shorthand`.

    Raises:
        ValueError: a key is no role.
    """
    if not isinstance(given, Mapping):
        return given
    unknown = [name for name in given if name not in list(Role)]
    if unknown:
        raise ValueError(f"no role {unknown[0]!r}; there are {', '.join(Role)}")
    plain = shorthand and {name for name, value in given.items() if isinstance(value, int)}
    return {Role(name): {shorthand: value} if name in plain else value for name, value in given.items()}
