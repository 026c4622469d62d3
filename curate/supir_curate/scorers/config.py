"""Which scorers run, each under a name of its own: `assess.scorers` of the config.

Place in the flow: `assess` reads it; the name is the folder of the scorer's answers, `scores/NAME`. The law: no two
scorers give a score of the same name, nor one that the probes give.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, field_validator

from supir_curate.scorers.brisque import BrisqueConfig
from supir_curate.scorers.classifier import ClassifierConfig
from supir_curate.scorers.clip import ClipConfig
from supir_curate.scorers.faces import FacesConfig
from supir_curate.scorers.iqa import IqaConfig
from supir_curate.scorers.mobilenet import MobilenetConfig
from supir_curate.scorers.niqe import NiqeConfig
from supir_curate.scorers.nsfw import NsfwConfig
from supir_curate.scorers.text import TextConfig
from supir_curate.scores import SCORE_NAMES, Score
from supir_curate.strict import StrictConfig

TAKEN = "source"  # the folder below scores/ of what a source itself says of its pictures
NAME = r"[A-Za-z0-9][A-Za-z0-9.+_-]*"
LOCAL_FOLDER = "local-dir:"  # open_clip's mark of a folder

PLACES = ("model", "weights", "aesthetic")  # keys that may hold a path

AnyScorer = (
    NiqeConfig
    | BrisqueConfig
    | NsfwConfig
    | TextConfig
    | FacesConfig
    | MobilenetConfig
    | ClipConfig
    | IqaConfig
    | ClassifierConfig
)
ScorerConfig = Annotated[AnyScorer, Field(discriminator="kind")]
KINDS = tuple(member.model_fields["kind"].default for member in get_args(AnyScorer))


class AssessConfig(StrictConfig):
    """Scorers with weights."""

    scorers: dict[str, ScorerConfig] = Field(
        default={},
        description="name: {kind: niqe, brisque, nsfw, text, faces, mobilenet, clip, pyiqa or classifier, …};"
        " a name that is a kind needs none, and any other name without one is a metric of pyiqa",
    )
    only_passing: bool = Field(
        default=True, description="look only at what passes the rules of select.rules whose limit is a number"
    )
    side_px: int = Field(
        default=1024,
        ge=64,
        description="short side to which a larger picture is reduced before scorers see it",
    )
    batch_images: int = Field(default=32, ge=1, description="pictures that a GPU takes at once")
    workers_per_gpu: int = Field(
        default=4,
        ge=1,
        description="processes that share a GPU; each decodes on one core and holds every scorer",
    )

    @field_validator("scorers", mode="before")
    @classmethod
    def _with_kinds(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name in given:
            if name == TAKEN:
                raise ValueError(f"the name {TAKEN!r} is taken; name the scorer otherwise")
            if not re.fullmatch(NAME, str(name)):
                raise ValueError(
                    f"a scorer's name is a folder's: letters, digits, '.', '+', '_', '-', not {name!r}"
                )
        return {
            name: {"kind": name if name in KINDS else "pyiqa", **(values or {})}
            if values is None or isinstance(values, dict)
            else values
            for name, values in given.items()
        }

    @field_validator("scorers")
    @classmethod
    def _distinct(cls, scorers: dict[str, ScorerConfig]) -> dict[str, ScorerConfig]:
        counts = Counter(SCORE_NAMES)
        counts.update(score.name for name, scorer in scorers.items() for score in scorer.scores(name))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f"more than one gives the score {twice[0]!r}; leave one out, or name it otherwise"
            )
        return scorers

    def scores(self) -> tuple[Score, ...]:
        """Returns what all scorers measure, with units and ranges."""
        return tuple(score for name, scorer in self.scorers.items() for score in scorer.scores(name))

    def for_workers(self) -> AssessConfig:
        """Returns the config with absolute paths, for processes that run in another folder."""
        scorers = {
            name: scorer.model_copy(update={key: _absolute(value) for key, value in scorer if key in PLACES})
            for name, scorer in self.scorers.items()
        }
        return self.model_copy(update={"scorers": scorers})


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, str) and value.startswith(LOCAL_FOLDER):
        return LOCAL_FOLDER + str(Path(value.removeprefix(LOCAL_FOLDER)).absolute())
    if isinstance(value, str) and value and Path(value).exists():
        return str(Path(value).absolute())
    return value
