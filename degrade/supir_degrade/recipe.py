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
from supir_degrade.trace import Interpolation, KernelKind, Subsampling

RECIPES = ("realesrgan", "light", "web2026")


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= bounds[1]:
        raise ValueError(f"a range is [low, high], got {list(bounds)}")
    return bounds


def _quality(bounds: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= bounds[0] <= bounds[1] <= 100:
        raise ValueError(f"a quality range is [low, high] within 1..100, got {list(bounds)}")
    return bounds


def _weights(weights: dict[Any, float]) -> dict[Any, float]:
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"weights are zero or more and not all zero, got {weights}")
    return weights


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
QualityRange = Annotated[tuple[int, int], AfterValidator(_quality)]
Probability = Annotated[float, Field(ge=0, le=1)]
KernelWeights = Annotated[dict[KernelKind, float], AfterValidator(_weights)]
SubsamplingWeights = Annotated[dict[Subsampling, float], AfterValidator(_weights)]
ScaleWeights = Annotated[dict[Annotated[float, Field(ge=1)], float], AfterValidator(_weights)]
KernelSizes = Annotated[tuple[int, int], AfterValidator(_ordered)]

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
    sigma: Range = Field(description="standard deviation of the kernel, px")
    beta_generalised: Range = Field((0.5, 4.0), description="shape of gen kernels; half the draws below 1")
    beta_plateau: Range = Field((1.0, 2.0), description="shape of plateau kernels; split at 1 too")
    sinc_probability: Probability = Field(0.1, description="chance of a sinc kernel instead")


class SincStep(_Step):
    """A circular low-pass filter with a cutoff in [min_cutoff, pi]."""

    do: Literal["sinc"] = "sinc"
    kernel_sizes: KernelSizes = Field((7, 21), description="smallest and largest kernel side, px, odd")
    min_cutoff: float = Field(math.pi / 3, gt=0, le=math.pi, description="lowest cutoff, radians per pixel")


class DefocusStep(_Step):
    """A disk kernel."""

    do: Literal["defocus"] = "defocus"
    radius_px: Range = Field(description="radius of the disk, px")


class MotionStep(_Step):
    """A straight-line kernel at any angle."""

    do: Literal["motion"] = "motion"
    length_px: Range = Field(description="length of the line, px")


class ResizeStep(_Step):
    """Resampling by a random factor of the input's size or of the output's (input / scale)."""

    do: Literal["resize"] = "resize"
    of: Literal["input", "output"] = Field("input", description="the size that the factor multiplies")
    up_probability: Probability = Field(description="chance of a factor in [1, high]")
    down_probability: Probability = Field(description="chance of a factor in [low, 1]; else factor 1")
    factor: Range = Field(description="lowest and highest factor")
    interpolations: tuple[Interpolation, ...] = Field(ALL_INTERPOLATIONS, description="drawn evenly")

    @model_validator(mode="after")
    def _check(self) -> ResizeStep:
        if self.up_probability + self.down_probability > 1 + 1e-9:
            raise ValueError("up_probability + down_probability is above 1")
        if not 0 < self.factor[0] <= 1 <= self.factor[1]:
            raise ValueError(f"factor must enclose 1 and stay above 0, got {list(self.factor)}")
        return self


class ToOutputStep(_Step):
    """Resampling to exactly the output size (input / scale)."""

    do: Literal["to_output"] = "to_output"
    interpolations: tuple[Interpolation, ...] = Field(ALL_INTERPOLATIONS, description="drawn evenly")


class NoiseStep(_Step):
    """Gaussian or Poisson noise, in colour or gray."""

    do: Literal["noise"] = "noise"
    gaussian_probability: Probability = Field(0.5, description="chance of Gaussian noise, else Poisson")
    sigma: Range = Field(description="standard deviation of Gaussian noise, of 255")
    poisson_scale: Range = Field(description="factor on Poisson noise")
    gray_probability: Probability = Field(0.4, description="chance that all channels share the noise")


class SharpenStep(_Step):
    """Unsharp mask stronger than a picture needs."""

    do: Literal["sharpen"] = "sharpen"
    weight: Range = Field(description="share of the high frequencies that is added")
    radius_px: tuple[int, int] = Field(description="smallest and largest blur kernel radius, px")
    threshold: float = Field(0.0, ge=0, description="weakest difference that is sharpened, of 255")


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
    methods: tuple[int, ...] = Field((0, 4), description="encoder efforts 0..6, drawn evenly")


class AvifStep(_Step):
    """One AVIF file."""

    do: Literal["avif"] = "avif"
    quality: QualityRange = Field(description="lowest and highest quality")
    speed: int = Field(9, ge=0, le=10, description="encoder speed, 10 fastest")


class Branch(Config):
    """One alternative of a `one_of` step."""

    weight: float = Field(1.0, ge=0, description="relative chance of this branch")
    steps: tuple[Step, ...] = Field(description="what happens in this branch; may be empty")


class OneOfStep(_Step):
    """Exactly one of several branches."""

    do: Literal["one_of"] = "one_of"
    branches: tuple[Branch, ...] = Field(min_length=1, description="the alternatives")


class SharesStep(_Step):
    """A picture handed on through several platforms, each with a cap on its longer side and its own codec.

    The sample is taken for a crop of a photo whose longer side is `photo_side_px`; each round shrinks it by
    cap / current side where the cap is smaller, then runs one of `codecs`.
    """

    do: Literal["shares"] = "shares"
    rounds: tuple[int, int] = Field(description="fewest and most rounds")
    photo_side_px: Range = Field(description="longer side of the whole photo, px, drawn log-uniformly")
    caps_px: tuple[int, ...] = Field(min_length=1, description="caps on the longer side, drawn evenly, px")
    interpolations: tuple[Interpolation, ...] = Field(ALL_INTERPOLATIONS, description="drawn evenly")
    codecs: tuple[Branch, ...] = Field(min_length=1, description="what a platform re-encodes with")


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
    enlarge: tuple[Interpolation, ...] = Field(("bicubic",), description="how the result gets its size back")


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
