"""What a restoration is made with: one config, the set for `mini`, and SUPIR's documented sets.

Place in the flow: read by `restore`, `folder`, `cli` and `web`; its hash is part of every output's
identity.
Source: arXiv 2401.13627 (paper: T=100, guidance 7.5, tau_r=4, short side 1024) and the reference's
published defaults and hints of May 2025 (`fidelity`, `quality`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from supir_console import Config, Text, load_config
from supir_model.prompts import NEGATIVE_PROMPT, POSITIVE_SUFFIX

ColourFix = Literal["wavelet", "adain", "mean", "none"]
OutputFormat = Literal["png", "tiff", "jpg", "webp"]
Sampler = Literal["edm", "dpmpp_2m_sde", "lcm"]


class RestoreSettings(Config):
    """Everything but the picture, its caption and its seed; defaults are the paper's way at a small model's size."""

    upscale: float = Field(default=1.0, ge=0.05, le=16, description="Output side / input side.")
    min_size_px: int = Field(
        default=256,
        ge=64,
        le=8192,
        description="Shortest side of the working image, px; the output is resized back.",
    )
    working_scale: Literal["auto"] | Annotated[float, Field(ge=1, le=4)] = Field(
        default=1.0,
        description="Working side / output side, where min_size_px does not ask for more; auto: 2, but 1 for "
        "a picture that is very blurred or larger than 16 million px.",
    )
    snap_px: int = Field(
        default=32, ge=32, le=1024, multiple_of=32, description="The working sides are multiples of this, px."
    )
    max_megapixels: float = Field(
        default=128.0,
        ge=0.01,
        le=10_000,
        description="Largest working image accepted, million px; larger ones fail with their size.",
    )
    sampler: Sampler = Field(
        default="edm",
        description="edm (restoration-guided Euler), dpmpp_2m_sde (fewer steps) or lcm (priors distilled for it).",
    )
    steps: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Number of denoising steps; no more than there are noise levels from start_sigma on.",
    )
    start_sigma: float | None = Field(
        default=None,
        ge=0.001,
        le=1000,
        description="Start from the pre-cleaned LQ's latent plus noise of this level, in few steps; null = from noise.",
    )
    guidance_scale: float = Field(
        default=2.0, ge=0, le=30, description="Text guidance (CFG) at the end; 1 = none."
    )
    guidance_scale_start: float | None = Field(
        default=1.0,
        ge=0,
        le=30,
        description="Text guidance at the start, linear in sigma to the end; null = constant.",
    )
    control_scale: float = Field(
        default=1.0, ge=0, le=2, description="Strength of the LQ control at the end; 0 = none."
    )
    control_scale_start: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="Strength of the LQ control at the start, linear in sigma; null = constant.",
    )
    strength: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="Share of the restoration in the result, the rest is the picture as given; auto: as much as "
        "seems nearer to the photo, 0 where it is clean.",
    )
    restore_guidance: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Restoration guidance exponent tau_r; smaller pulls harder; 0 = off.",
    )
    s_churn: float = Field(
        default=5.0,
        ge=0,
        le=1000,
        description="Noise added back over all steps (edm), no more than 0.41 of each; 0 = deterministic path.",
    )
    s_noise: float = Field(
        default=1.0, ge=0, le=2, description="Standard deviation of the noise that is added back."
    )
    colour_fix: ColourFix = Field(
        default="wavelet",
        description="How the colours of colour_reference are taken: wavelet, adain, mean or none.",
    )
    colour_reference: Literal["lq", "stage_one"] = Field(
        default="stage_one",
        description="Whose colours: the given picture's, or the pre-cleaned one's, which the autoencoder has moved.",
    )
    positive_suffix: Text = Field(
        default=POSITIVE_SUFFIX, description="Quality words written after every caption."
    )
    negative_prompt: Text = Field(default=NEGATIVE_PROMPT, description="What the guidance leads away from.")
    output_format: OutputFormat = Field(
        default="png", description="Kind of the results' files: png, tiff, jpg or webp."
    )
    output_bits: Literal[8, 16] = Field(default=8, description="Bits a channel; 16 of png and tiff alone.")
    output_quality: int = Field(
        default=95, ge=1, le=100, description="Quality of jpg and webp; webp of 100 is lossless."
    )
    tile_px: int = Field(
        default=512,
        ge=64,
        le=8192,
        multiple_of=32,
        description="Side of a sampling tile, px; a larger working image is sampled in tiles.",
    )
    tile_stride_px: int = Field(
        default=256, ge=32, le=8192, multiple_of=8, description="Distance of two sampling tiles, px."
    )
    size_condition: Literal["tile", "picture"] | Annotated[int, Field(ge=64, le=8192)] = Field(
        default="tile",
        description="What the size vector says: tile (each is a picture of its own), picture (each is a crop of the "
        "working image), or a side in px, whatever the tile is.",
    )
    tile_batch: int = Field(default=1, ge=1, le=64, description="Tiles that go through the network at once.")
    vae_strip_px: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Rows of the image the VAE handles at once, px (the same result in less memory); 0 = all.",
    )
    vae_maps_gib: float | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="With vae_strip_px and SDXL's VAE: main memory for its maps, GiB; those beyond it lie in temporary "
        "files (TMPDIR); null = all in memory.",
    )

    @model_validator(mode="after")
    def _format_holds_bits(self) -> RestoreSettings:
        if self.output_bits == 16 and self.output_format in ("jpg", "webp"):
            raise ValueError(
                f"output_bits=16: {self.output_format} holds 8; use output_format png or tiff (--format)"
            )
        return self

    @model_validator(mode="after")
    def _tiles_overlap(self) -> RestoreSettings:
        if self.tile_stride_px > self.tile_px:
            raise ValueError(
                f"tile_stride_px={self.tile_stride_px} leaves gaps between tiles of {self.tile_px} px; "
                f"use at most {self.tile_px}, usually {self.tile_px // 2}"
            )
        return self


_SDXL: dict[str, Any] = {
    "min_size_px": 1024,
    "snap_px": 64,
    "tile_px": 1024,
    "tile_stride_px": 512,
    "size_condition": 1024,
}
# What a student of `supir-train`, stage distill, was taught with: its guidance is in its weights, its way has no noise.
_STUDENT: dict[str, Any] = {
    "steps": 2,
    "start_sigma": 1.0,
    "guidance_scale": 1.0,
    "guidance_scale_start": None,
    "restore_guidance": 0.0,
    "s_churn": 0.0,
}
# How a picture is computed, not what it is: these may change between two runs over the same folder.
EXECUTION_KEYS = frozenset({"max_megapixels", "tile_batch", "vae_strip_px", "vae_maps_gib"})

PRESETS: dict[str, RestoreSettings] = {
    "mini": RestoreSettings(
        steps=1,
        start_sigma=0.03,
        guidance_scale=1.0,
        guidance_scale_start=None,
        restore_guidance=0.0,
        s_churn=0.0,
        strength="auto",
        working_scale="auto",
        colour_fix="mean",
        colour_reference="lq",
        vae_strip_px=256,
    ),
    "paper": RestoreSettings(
        **_SDXL, steps=100, guidance_scale=7.5, guidance_scale_start=None, restore_guidance=4.0, s_noise=1.003
    ),
    "quality": RestoreSettings(
        **_SDXL,
        steps=50,
        guidance_scale=6.0,
        guidance_scale_start=3.0,
        restore_guidance=0.0,
        s_noise=1.02,
        control_scale=0.93,
    ),
    "fidelity": RestoreSettings(
        **_SDXL, steps=50, guidance_scale=4.0, guidance_scale_start=1.0, restore_guidance=0.0, s_noise=1.01
    ),
    "few-step": RestoreSettings(**_SDXL, **_STUDENT),
    "few-step-mini": RestoreSettings(**_STUDENT),
    "lightning": RestoreSettings(
        **_SDXL, steps=8, guidance_scale=1.5, guidance_scale_start=None, restore_guidance=0.0, s_churn=0.0
    ),
    "lcm": RestoreSettings(
        **_SDXL,
        sampler="lcm",
        steps=4,
        guidance_scale=1.0,
        guidance_scale_start=None,
        restore_guidance=0.0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a preset was made for: the size of model, and, in words, what else it needs."""

    size: Literal["sdxl", "small"]
    needs: str = ""
    lora: bool = False


PRESET_BASES: dict[str, Base] = {
    "mini": Base(size="small"),
    "paper": Base(size="sdxl"),
    "quality": Base(size="sdxl"),
    "fidelity": Base(size="sdxl"),
    "few-step": Base(size="sdxl", needs="a student of distill-sdxl"),
    "few-step-mini": Base(size="small", needs="a student of distill-mini"),
    "lightning": Base(size="sdxl", needs="an 8-step LoRA or base of SDXL-Lightning or Hyper-SD", lora=True),
    "lcm": Base(size="sdxl", needs="a LoRA or base of LCM or DMD2", lora=True),
}


def change_settings(
    settings: RestoreSettings, changes: Mapping[str, object], overrides: Sequence[str] = ()
) -> RestoreSettings:
    """Returns `settings` with `changes`, then `overrides`, checked again.

    Args:
        settings: what to start from.
        changes: new values by key.
        overrides: `KEY=VALUE` lines as `--set` takes them.

    Raises:
        UserError: an unknown key or a value that is not allowed.
    """
    values = settings.model_dump(mode="json") | dict(changes)
    lines = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return load_config(RestoreSettings, None, [*lines, *overrides])
