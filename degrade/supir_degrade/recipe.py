"""A recipe says from which ranges each degraded sample draws its operations; recipes are data (YAML).

Place in the flow: `load_recipe` reads one, `draw` turns it and a generator into a trace. The steps run in the
order of the list; each is drawn for every sample anew, with its own probability.
Source of the numbers in the shipped files: see the `source` key of each.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from supir_console import Config, UserError, load_config
from supir_degrade.bounds import (
    Interpolations,
    KernelSizes,
    KernelWeights,
    Probability,
    QualityRange,
    Range,
    ScaleWeights,
    ShapeRange,
    SubsamplingWeights,
    check_weights,
    within,
)
from supir_degrade.trace import Interpolation, KernelKind

RECIPES = ("realesrgan", "light", "web2026")


KERNEL_MIX: dict[KernelKind, float] = {
    "iso": 0.45,
    "aniso": 0.25,
    "gen_iso": 0.12,
    "gen_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
ALL_INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")


class _Step(Config):
    probability: Probability = Field(1.0, description="chance that the step happens at all")

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                nearest = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown key {key!r}; did you mean {nearest!r}?")
        return values


class BlurStep(_Step):
    """A Gaussian-family kernel, or with `sinc_probability` a sinc kernel instead."""

    do: Literal["blur"] = "blur"
    kernel_sizes: KernelSizes = Field((7, 21), description="smallest and largest kernel side, px, odd")
    kernels: KernelWeights = Field(KERNEL_MIX, description="weights of the kernel families")
    sigma: Annotated[Range, within(0.01, 100)] = Field(description="standard deviation of the kernel, px")
    beta_generalised: ShapeRange = Field(
        (0.5, 4.0), description="shape of gen kernels; half the draws below 1"
    )
    beta_plateau: ShapeRange = Field((1.0, 2.0), description="shape of plateau kernels; split at 1 too")
    sinc_probability: Probability = Field(0.1, description="chance of a sinc kernel instead")


class SincStep(_Step):
    """A circular low-pass filter with a cutoff in [min_cutoff, pi]."""

    do: Literal["sinc"] = "sinc"
    kernel_sizes: KernelSizes = Field((7, 21), description="smallest and largest kernel side, px, odd")
    min_cutoff: float = Field(
        math.pi / 3, ge=0.01, le=math.pi, description="lowest cutoff, radians per pixel"
    )


class DefocusStep(_Step):
    """A disk kernel."""

    do: Literal["defocus"] = "defocus"
    radius_px: Annotated[Range, within(0.1, 100)] = Field(description="radius of the disk, px")


class MotionStep(_Step):
    """A straight-line kernel at any angle."""

    do: Literal["motion"] = "motion"
    length_px: Annotated[Range, within(0, 200)] = Field(description="length of the line, px")


class ResizeStep(_Step):
    """Resampling by a random factor of the input's size or of the output's (input / scale)."""

    do: Literal["resize"] = "resize"
    of: Literal["input", "output"] = Field("input", description="the size that the factor multiplies")
    up_probability: Probability = Field(description="chance of a factor in [1, high]")
    down_probability: Probability = Field(description="chance of a factor in [low, 1]; else factor 1")
    factor: Annotated[Range, within(0.01, 8)] = Field(description="lowest and highest factor")
    interpolations: Interpolations = Field(ALL_INTERPOLATIONS, description="drawn evenly")

    @model_validator(mode="after")
    def _check(self) -> ResizeStep:
        if self.up_probability + self.down_probability > 1 + 1e-9:
            raise ValueError("up_probability + down_probability is above 1")
        if not self.factor[0] <= 1 <= self.factor[1]:
            raise ValueError(f"factor must enclose 1, got {list(self.factor)}")
        return self


class ToOutputStep(_Step):
    """Resampling to exactly the output size (input / scale)."""

    do: Literal["to_output"] = "to_output"
    interpolations: Interpolations = Field(ALL_INTERPOLATIONS, description="drawn evenly")


class NoiseStep(_Step):
    """Gaussian or Poisson noise, in colour or gray."""

    do: Literal["noise"] = "noise"
    gaussian_probability: Probability = Field(0.5, description="chance of Gaussian noise, else Poisson")
    sigma: Annotated[Range, within(0, 255)] = Field(
        description="standard deviation of Gaussian noise, of 255"
    )
    poisson_scale: Annotated[Range, within(0, 100)] = Field(description="factor on Poisson noise")
    gray_probability: Probability = Field(0.4, description="chance that all channels share the noise")


class SharpenStep(_Step):
    """Unsharp mask stronger than a picture needs."""

    do: Literal["sharpen"] = "sharpen"
    weight: Annotated[Range, within(0, 10)] = Field(description="share of the high frequencies that is added")
    radius_px: Annotated[tuple[int, int], within(1, 200)] = Field(
        description="smallest and largest blur kernel radius, px"
    )
    threshold: float = Field(0.0, ge=0, le=255, description="weakest difference that is sharpened, of 255")


class JpegStep(_Step):
    """One JPEG file."""

    do: Literal["jpeg"] = "jpeg"
    quality: QualityRange = Field(description="lowest and highest quality")
    subsampling: SubsamplingWeights = Field({"4:2:0": 1.0}, description="weights of the chroma layouts")
    progressive_probability: Probability = Field(0.0, description="chance of a progressive file")


class WebpStep(_Step):
    """One lossy WebP file."""

    do: Literal["webp"] = "webp"
    quality: QualityRange = Field(description="lowest and highest quality")
    methods: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(
        (0, 4), min_length=1, description="encoder efforts 0..6, drawn evenly"
    )


class AvifStep(_Step):
    """One AVIF file."""

    do: Literal["avif"] = "avif"
    quality: QualityRange = Field(description="lowest and highest quality")
    speed: int = Field(9, ge=0, le=10, description="encoder speed, 10 fastest")


class Branch(Config):
    """One alternative of a `one_of` step."""

    weight: float = Field(1.0, ge=0, description="relative chance of this branch")
    steps: tuple[Step, ...] = Field(description="what happens in this branch; may be empty")


def _some_weight(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    check_weights({number: branch.weight for number, branch in enumerate(branches)})
    return branches


Branches = Annotated[tuple[Branch, ...], AfterValidator(_some_weight)]


class OneOfStep(_Step):
    """Exactly one of several branches."""

    do: Literal["one_of"] = "one_of"
    branches: Branches = Field(description="the alternatives")


class SharesStep(_Step):
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


Step = Annotated[
    BlurStep
    | SincStep
    | DefocusStep
    | MotionStep
    | ResizeStep
    | ToOutputStep
    | NoiseStep
    | SharpenStep
    | JpegStep
    | WebpStep
    | AvifStep
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
    steps: tuple[Step, ...] = Field(description="the operations in their order")
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
