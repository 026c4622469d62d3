"""The single steps of a recipe: which numbers each draws from which range.

Place in the flow: `recipe` builds its lists from these; `draw` turns each into operations of the trace. The law
it keeps: a step that is accepted gives a picture at both ends of every range, up to the longest side that a codec takes
(`bounds`).
"""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from supir_console import Config
from supir_degrade.bounds import (
    Interpolations,
    KernelSizes,
    KernelWeights,
    MatrixWeights,
    Probability,
    QualityRange,
    Range,
    ScaleWeights,
    ShapeRange,
    SubsamplingWeights,
    within,
)
from supir_degrade.trace import Interpolation, KernelKind, VideoCodec, VideoPreset

KERNEL_MIX: dict[KernelKind, float] = {
    "iso": 0.45,
    "aniso": 0.25,
    "gen_iso": 0.12,
    "gen_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
ALL_INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")


class BaseStep(Config):
    """What every step has; an unknown key is told with the nearest known one."""

    probability: Probability = Field(1.0, description="chance that the step happens at all")

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                nearest = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown key {key!r}; did you mean {nearest!r}?")
        return values


class BlurStep(BaseStep):
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


class SincStep(BaseStep):
    """A circular low-pass filter with a cutoff in [min_cutoff, pi]."""

    do: Literal["sinc"] = "sinc"
    kernel_sizes: KernelSizes = Field((7, 21), description="smallest and largest kernel side, px, odd")
    min_cutoff: float = Field(
        math.pi / 3, ge=0.01, le=math.pi, description="lowest cutoff, radians per pixel"
    )


class DefocusStep(BaseStep):
    """A disk kernel."""

    do: Literal["defocus"] = "defocus"
    radius_px: Annotated[Range, within(0.1, 100)] = Field(description="radius of the disk, px")


class MotionStep(BaseStep):
    """A straight-line kernel at any angle."""

    do: Literal["motion"] = "motion"
    length_px: Annotated[Range, within(0, 200)] = Field(description="length of the line, px")


class ResizeStep(BaseStep):
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


class ToOutputStep(BaseStep):
    """Resampling to exactly the output size (input / scale)."""

    do: Literal["to_output"] = "to_output"
    interpolations: Interpolations = Field(ALL_INTERPOLATIONS, description="drawn evenly")


class NoiseStep(BaseStep):
    """Gaussian or Poisson noise, in colour or gray."""

    do: Literal["noise"] = "noise"
    gaussian_probability: Probability = Field(0.5, description="chance of Gaussian noise, else Poisson")
    sigma: Annotated[Range, within(0, 255)] = Field(
        description="standard deviation of Gaussian noise, of 255"
    )
    poisson_scale: Annotated[Range, within(0, 100)] = Field(description="factor on Poisson noise")
    gray_probability: Probability = Field(0.4, description="chance that all channels share the noise")


class CameraNoiseStep(BaseStep):
    """Photon and read-out noise of a Bayer sensor in linear light, then demosaicing."""

    do: Literal["camera_noise"] = "camera_noise"
    shot: Annotated[Range, within(1e-6, 0.1)] = Field(
        description="variance of the photon noise of full white, of 1, drawn log-uniformly"
    )
    read_sigma: Annotated[Range, within(0, 0.2)] = Field(
        description="standard deviation of the read-out noise, of 1"
    )


class MoireStep(BaseStep):
    """A photo of a screen: its R, G, B stripes against the camera's pixels, then the camera's blur."""

    do: Literal["moire"] = "moire"
    pitch: Annotated[Range, within(0.1, 4)] = Field(description="screen pixels a camera pixel")
    max_angle: float = Field(
        0.05, ge=0, le=0.8, description="largest turn of the screen, radians, either way"
    )
    lens_sigma: Annotated[Range, within(0.15, 2)] = Field(
        description="blur of the lens, screen pixels; above 0.7 no bands are left"
    )
    blur_sigma_px: Annotated[Range, within(0, 10)] = Field(description="blur after the sensor, px")


class SharpenStep(BaseStep):
    """Unsharp mask stronger than a picture needs."""

    do: Literal["sharpen"] = "sharpen"
    weight: Annotated[Range, within(0, 10)] = Field(description="share of the high frequencies that is added")
    radius_px: Annotated[tuple[int, int], within(1, 200)] = Field(
        description="smallest and largest blur kernel radius, px"
    )
    threshold: float = Field(0.0, ge=0, le=255, description="weakest difference that is sharpened, of 255")


class JpegStep(BaseStep):
    """One JPEG file."""

    do: Literal["jpeg"] = "jpeg"
    quality: QualityRange = Field(description="lowest and highest quality")
    subsampling: SubsamplingWeights = Field({"4:2:0": 1.0}, description="weights of the chroma layouts")
    progressive_probability: Probability = Field(0.0, description="chance of a progressive file")


class WebpStep(BaseStep):
    """One lossy WebP file."""

    do: Literal["webp"] = "webp"
    quality: QualityRange = Field(description="lowest and highest quality")
    methods: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(
        (0, 4), min_length=1, description="encoder efforts 0..6, drawn evenly"
    )


class AvifStep(BaseStep):
    """One AVIF file."""

    do: Literal["avif"] = "avif"
    quality: QualityRange = Field(description="lowest and highest quality")
    speed: int = Field(9, ge=0, le=10, description="encoder speed, 10 fastest")


class VideoStep(BaseStep):
    """One intra frame of a video."""

    do: Literal["video"] = "video"
    codec: VideoCodec = Field(description='"h264" (x264) or "h265" (x265, three times as slow)')
    crf: Annotated[tuple[int, int], within(1, 51)] = Field(
        description="lowest and highest constant rate factor; low is good"
    )
    preset: VideoPreset = Field("veryfast", description="effort of the encoder")
    matrices: MatrixWeights = Field(
        {"bt709": 1.0}, description="weights of the colour matrices bt601 and bt709"
    )


class VaeStep(BaseStep):
    """What an autoencoder leaves, as a picture carries it that a diffusion model restored or made."""

    do: Literal["vae"] = "vae"
    weights: str = Field(
        "mini",
        min_length=1,
        description='"mini" (in the package), or a folder with the config.json and safetensors of an AutoencoderKL',
    )


class UpscalerStep(BaseStep):
    """What an earlier enlargement left: the picture made small, enlarged again, and sharpened to hide it."""

    do: Literal["upscaler"] = "upscaler"
    factor: ScaleWeights = Field(description="weights of the earlier enlargement's factors")
    interpolations: Interpolations = Field(("bicubic",), description="of the enlargement, drawn evenly")
    weight: Annotated[Range, within(0, 10)] = Field(description="share of the high frequencies that is added")
    radius_px: Annotated[tuple[int, int], within(1, 200)] = Field(
        description="smallest and largest blur kernel radius of the sharpening, px"
    )
