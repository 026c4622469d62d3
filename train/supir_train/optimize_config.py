"""The `optimize` and `autoencoder` sections of a run's config: one fit each, by AdamW."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supir_console import Config
from supir_train.loss_config import ImageLossConfig

DecayRate = Annotated[float, Field(ge=0, lt=1)]


class OptimizeConfig(Config):
    """One fit: AdamW over a number of steps."""

    steps: int = Field(default=10_000, ge=0, description="Optimizer steps.")
    batch: int = Field(default=16, ge=1, le=2**20, description="Images an optimizer step.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Images a forward pass of a process; divides batch (gradients add up) and changes rounding only. "
        "null: the process's whole share of the batch.",
    )
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        default="adamw",
        description="adamw8bit: bitsandbytes' AdamW, whose two moments take 2 bytes a parameter in the place of 8.",
    )
    lr: float = Field(default=1e-5, gt=0, description="Peak learning rate of AdamW.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant",
        description="Learning rate after the warm-up: constant, or cosine down to a hundredth.",
    )
    schedule_steps: int | None = Field(
        default=None,
        ge=1,
        description="Step at which the cosine ends; then its last rate stays. null: steps. Set it before the first "
        "start to leave open how long the run shall be.",
    )
    warmup_steps: int = Field(default=100, ge=0, description="Steps of linear warm-up of the learning rate.")
    betas: tuple[DecayRate, DecayRate] = Field(
        default=(0.9, 0.999), description="AdamW's decay rates of the two moments."
    )
    weight_decay: float = Field(default=0.01, ge=0, le=10, description="AdamW's decoupled weight decay.")
    grad_clip: float = Field(
        default=1.0, gt=0, description="Largest gradient norm; longer gradients are scaled down to it."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="bf16: autocast, and in the stages encoder and adapter the frozen networks are held in bfloat16; "
        "trained weights stay fp32.",
    )
    ema_decay: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="Decay of the weight average that is validated and exported, per step.",
    )

    @property
    def horizon(self) -> int:
        """Number of steps that the schedule is laid out over."""
        return self.schedule_steps or self.steps

    @property
    def images_per_forward(self) -> int:
        """Number of images in one forward pass."""
        return self.micro_batch or self.batch

    @model_validator(mode="after")
    def _batch_splits_evenly(self) -> OptimizeConfig:
        if self.batch % self.images_per_forward:
            fitting = range(1, min(self.batch, self.images_per_forward) + 1)
            size = max(images for images in fitting if self.batch % images == 0)
            raise ValueError(f"micro_batch={self.micro_batch} does not divide batch={self.batch}; use {size}")
        return self


class AutoencoderConfig(OptimizeConfig, ImageLossConfig):
    """The first fit of `stage: prior`: the VAE, by reconstruction."""

    steps: int = Field(
        default=0, ge=0, description="Optimizer steps of the autoencoder fit; 0 keeps the VAE as it is."
    )
    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW.")
    gradient_weight: float = Field(
        default=1.0, ge=0, description="Weight of the L1 distance of horizontal and vertical differences."
    )
    scales: int = Field(
        default=3,
        ge=1,
        description="Both are compared at this many scales, each half the last, and averaged.",
    )
    kl_weight: float = Field(
        default=1e-6,
        ge=0,
        description="Weight of the KL divergence to N(0, I), per latent value, against the L1 per pixel value.",
    )
