"""Which findings make a caption unfit: asked for once more, handed to the fallback engine, or left out with its reason.

Place in the flow: `asking` asks again while tries are left, `fallback` settles what is unfit then. The law: a caption
is kept or left out as a whole, and the reason stands in its checks; nothing unfit is stored as a caption.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from supir_caption.lint import CHECKS, lint
from supir_console import Config

if TYPE_CHECKING:
    from supir_caption.picture import Description

ENGINES_OWN = ("empty", "finish_reason", "not_json")
"""Findings beside those of `lint`: no text, an answer that was cut off, and one without the JSON asked for."""

_NO_PROMPT = ("degradation", "not_json")

NO_CAPTION = "no_caption"
"""The check of a place that has no caption; its value is the reason."""


class FitConfig(Config):
    """What is done about an answer in which a check found something."""

    ask_again: tuple[str, ...] = Field(
        default=("empty", "refusal", "repetition", "language", "finish_reason", "not_json"),
        description=f"findings for which a model is asked once more: any of {', '.join((*CHECKS, *ENGINES_OWN))}",
    )
    leave_out: tuple[str, ...] = Field(
        default=("empty", "refusal", "repetition", "language"),
        description="findings that no caption is kept with; take language out where a question asks for another",
    )

    @field_validator("ask_again", "leave_out")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (*CHECKS, *ENGINES_OWN)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no finding; known are {', '.join(known)}")
        return names

    def for_prompts(self) -> FitConfig:
        """Returns what holds for a text that becomes a prompt at once: a restorer would paint the faults it names."""
        return self.model_copy(
            update={
                "ask_again": tuple(dict.fromkeys((*self.ask_again, *_NO_PROMPT))),
                "leave_out": tuple(dict.fromkeys((*self.leave_out, *_NO_PROMPT))),
            }
        )


def findings(text: str, checks: Mapping[str, str]) -> dict[str, str]:
    """Returns all that is found in an answer: by the checks of its text, and by the engine.

    Args:
        text: clean.
        checks: the engine's own.
    """
    return {**lint(text), **checks}


def reason(found: Mapping[str, str], names: Collection[str]) -> str:
    """Returns the first of the findings named, with its words: "refusal: i cannot"; "" if there is none."""
    return next((f"{name}: {found[name]}" for name in names if name in found), "")


def left_out(description: Description, why: str) -> Description:
    """Returns a place without a caption; what the text was is not kept."""
    notes = {name: words for name, words in description.checks.items() if name in ("tries", "answered_by")}
    return replace(description, text="", short="", checks={**notes, NO_CAPTION: why})
