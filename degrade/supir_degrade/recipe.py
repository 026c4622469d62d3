"""A recipe says from which ranges each degraded sample draws its operations; recipes are data (YAML).

Place in the flow: `load_recipe` reads one, `draw` turns it and a generator into a trace. The steps run in the
order of the list; each is drawn for every sample anew, with its own probability.
Source of the numbers in the shipped files: see the `source` key of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from supir_console import Config, UserError, load_config
from supir_degrade.bounds import Interpolations, Probability, Range, ScaleWeights, check_weights, within
from supir_degrade.steps import (
    ALL_INTERPOLATIONS,
    AvifStep,
    BaseStep,
    BlurStep,
    CameraNoiseStep,
    DefocusStep,
    JpegStep,
    MoireStep,
    MotionStep,
    NoiseStep,
    ResizeStep,
    SharpenStep,
    SincStep,
    ToOutputStep,
    UpscalerStep,
    VaeStep,
    VideoStep,
    WebpStep,
)

MAX_DEPTH = 20
RECIPES = ("realesrgan", "light", "web2026")


class Branch(Config):
    """One alternative of a `one_of` step."""

    weight: float = Field(1.0, ge=0, description="relative chance of this branch")
    steps: tuple[Step, ...] = Field(description="what happens in this branch; may be empty")


def _some_weight(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    check_weights({number: branch.weight for number, branch in enumerate(branches)})
    return branches


Branches = Annotated[tuple[Branch, ...], AfterValidator(_some_weight)]


class OneOfStep(BaseStep):
    """Exactly one of several branches."""

    do: Literal["one_of"] = "one_of"
    branches: Branches = Field(description="the alternatives")


class SharesStep(BaseStep):
    """A picture handed on through several platforms, each with a cap on its longer side and its own codec.

    The sample is taken for a crop of a photo whose longer side is `photo_side_px`; each round shrinks it by
    cap / current side where the cap is smaller, then runs one of `codecs`.
    """

    do: Literal["shares"] = "shares"
    rounds: Annotated[tuple[int, int], within(0, 20)] = Field(description="fewest and most rounds")
    photo_side_px: Annotated[Range, within(16, 1e5)] = Field(
        description="longer side of the whole photo, px, drawn log-uniformly"
    )
    caps_px: tuple[Annotated[int, Field(ge=16)], ...] = Field(
        min_length=1, description="caps on the longer side, drawn evenly, px"
    )
    interpolations: Interpolations = Field(ALL_INTERPOLATIONS, description="drawn evenly")
    codecs: Branches = Field(description="what a platform re-encodes with")


def _not_too_deep(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    depth, level = 0, steps
    while level := tuple(inner for step in level for inner in _inside(step)):
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"branches inside branches go deeper than {MAX_DEPTH}; join some of them")
    return steps


def _inside(step: Step) -> Iterator[Step]:
    match step:
        case OneOfStep():
            branches = step.branches
        case SharesStep():
            branches = step.codecs
        case _:
            return
    for branch in branches:
        yield from branch.steps


Step = Annotated[
    BlurStep
    | SincStep
    | DefocusStep
    | MotionStep
    | ResizeStep
    | ToOutputStep
    | NoiseStep
    | CameraNoiseStep
    | MoireStep
    | SharpenStep
    | UpscalerStep
    | JpegStep
    | WebpStep
    | AvifStep
    | VideoStep
    | VaeStep
    | OneOfStep
    | SharesStep,
    Field(discriminator="do"),
]


class Recipe(Config):
    """Ranges from which the degradation of every sample is drawn."""

    name: str = Field(description="written into every trace")
    source: str = Field("", description="where the numbers come from")
    clean_share: Probability = Field(0.0, description="share of samples that stay as they are")
    scale: ScaleWeights = Field({1.0: 1.0}, description="weights of the factor input side / output side")
    steps: Annotated[tuple[Step, ...], AfterValidator(_not_too_deep)] = Field(
        description="the operations in their order"
    )
    enlarge: Interpolations = Field(("bicubic",), description="how the result gets its size back")


for _model in (Branch, OneOfStep, SharesStep, Recipe):
    _model.model_rebuild()


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Returns the recipe of that name from the package, or the one in that YAML file.

    Args:
        name_or_path: "realesrgan", "light", "web2026", or the path of a YAML file.
        overrides: `key=value` strings, as in `--set`.

    Raises:
        UserError: no such recipe, an unknown key, or a value that is not allowed.
    """
    if str(name_or_path) in RECIPES:
        with as_file(files("supir_degrade") / "recipes" / f"{name_or_path}.yaml") as path:
            return load_config(Recipe, path, overrides)
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f"recipe {str(name_or_path)!r} is neither a file nor one of {', '.join(RECIPES)}; "
            "give one of these names or the path of a YAML file"
        )
    return load_config(Recipe, path, overrides)
