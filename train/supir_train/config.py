"""What a training run can be told: one pydantic model, read from YAML, written resolved into the run folder.

Other configs live with their owners: degradation recipes in `supir_degrade`, model presets in `supir_model`.
The law it keeps: a run that is continued with another value of a key outside `FREE_KEYS` is refused, so the config in
a run folder is the one that its weights come from.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from supir_console import Config
from supir_train.best import NEEDS_RESTORATION, BestFigure
from supir_train.loss_config import EncoderLossConfig, ImageLossConfig, NoiseLossConfig
from supir_train.words import CaptionWeights

FREE_KEYS = (
    "run",
    "device",
    "data.cache_bytes",
    "data.workers",
    "optimize.steps",
    "optimize.schedule_steps",
    "optimize.micro_batch",
    "autoencoder.micro_batch",
    "autoencoder.schedule_steps",
    "log_every",
    "trace_every",
    "checkpoint_every",
    "keep_checkpoints",
    "incident_limit",
    "validation.every",
    "validation.best",
)
"""Keys that may change between a run and its continuation: how it runs, and how long.

Steps change only as far as the schedule stays the one that was begun, see `config_history.py`.
"""


class DataConfig(Config):
    """Which samples are read and what is made of each before it becomes a training pair."""

    dataset: str = Field(description="Folder or fsspec URL of a dataset written by supir-curate.")
    captions: str | None = Field(
        default=None, description="Name of the caption set to read; null trains without captions."
    )
    negatives: str | None = Field(
        default=None, description="Dataset with negative samples (supir-degrade negatives); null for none."
    )
    negative_share: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the images seen that are negative samples, 0 to 1 (with negatives).",
    )
    recipe: str = Field(
        default="realesrgan",
        description="Degradation recipe of supir_degrade: a shipped name or a YAML file.",
    )
    degrade_on: Literal["loader", "device"] = Field(
        default="loader",
        description="Where crops are degraded: by the loader processes, or in batches on the training device; "
        "with the same draws, but with noise of the device's own bits.",
    )
    crop_px: int = Field(
        default=512, ge=32, description="Side of the square training crop, pixels; a multiple of 32."
    )
    max_downscale: float = Field(
        default=1.0,
        ge=1,
        description="A crop may cover a region up to this many times its side, averaged down; 1 keeps native pixels.",
    )
    crops_per_image: int = Field(
        default=1, ge=1, description="Crops taken from an image each time it is decoded; they share a batch."
    )
    size_condition_px: tuple[int, int] = Field(
        default=(1024, 1024),
        description="Image side told to the networks' size vector, pixels: lowest and highest, drawn log-uniformly. "
        "SDXL draws small sizes blurred, so it is told 1024; a range teaches a new prior not to lean on it.",
    )
    caption_weights: CaptionWeights = CaptionWeights()
    suffix_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the captions, the empty ones apart, that get the positive quality suffix of inference.",
    )
    shuffle_parts: int = Field(
        default=8, ge=1, description="Parts whose samples are shuffled together; their indexes are held."
    )
    cache_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory for decoded images kept by each worker, bytes; saves decoding small datasets again.",
    )
    workers: int = Field(
        default=1, ge=0, description="Loader processes; 0 loads in the training process. Changes no batch."
    )

    @model_validator(mode="after")
    def _crop_fits_the_network(self) -> DataConfig:
        if self.crop_px % 32:
            above = self.crop_px // 32 * 32 + 32
            raise ValueError(
                f"crop_px={self.crop_px} px is not a multiple of 32; use {above - 32} or {above}"
            )
        return self

    @model_validator(mode="after")
    def _sizes_are_a_range(self) -> DataConfig:
        lowest, highest = self.size_condition_px
        if not 0 < lowest <= highest:
            raise ValueError(
                f"size_condition_px={[lowest, highest]} is no range; write the lower one first, as in [128, 1024]"
            )
        return self


class OptimizeConfig(Config):
    """One fit: AdamW over a number of steps."""

    steps: int = Field(default=10_000, ge=0, description="Optimizer steps.")
    batch: int = Field(default=16, ge=1, description="Images an optimizer step.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Images a forward pass of a process; divides batch (gradients add up) and changes rounding only. "
        "null: the process's whole share of the batch.",
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
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="AdamW's decay rates of the two moments."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's decoupled weight decay.")
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
            size = math.gcd(self.batch, self.images_per_forward)
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


class AdapterConfig(Config):
    """Where `stage: adapter` begins."""

    start: Literal["init", "unet"] = Field(
        default="init",
        description="init: go on with the adapter that init holds; unet: control encoder copied from the UNet, new "
        "connectors.",
    )


class ValidationConfig(Config):
    """What is measured on held-out photos: the same crops, timesteps and noise every time, so that curves compare."""

    every: int = Field(
        default=500,
        ge=1,
        description="Steps between validations; the last step is always validated. The run says where they take "
        "more than 5 % of its time.",
    )
    crops: int = Field(
        default=16,
        ge=0,
        description="Held-out crops, spread evenly over the held-out photos; 0 switches validation off.",
    )
    share: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="Share of the photos held out from training, with all their crops and negatives, chosen by the key "
        "of the source photo.",
    )
    pictures: int = Field(
        default=8,
        ge=0,
        description="How many of the crops are restored, for PSNR, SSIM, LPIPS and a sheet of pictures; 0 for none. "
        "The prior restores none.",
    )
    steps: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Denoising steps of a restoration in stage adapter (DPM++ 2M SDE).",
    )
    guidance_scale: float = Field(
        default=1.0,
        ge=0,
        le=30,
        description="Text guidance (CFG) of a restoration in stage adapter; 1 for none, at half the cost.",
    )
    best: BestFigure = Field(
        default="validation_loss",
        description="The figure whose best checkpoint is kept beside the newest: validation_loss or lpips, the lower "
        "the better; psnr or ssim, the higher.",
    )


class TrainConfig(Config):
    """A whole run."""

    stage: Literal["prior", "encoder", "adapter"] = Field(
        description="prior: VAE, then UNet and text encoders (small backbones); encoder: degradation-robust encoder; "
        "adapter: control encoder and connectors."
    )
    run: Path = Field(description="Folder of the run: config, metrics, checkpoints and, at the end, model/.")
    init: str = Field(
        default="mini",
        description="Weights to start from: mini (shipped), fresh (random, see preset), a folder RUN/model of another "
        "run, or SDXL (any finetune): a diffusers folder or a single file.",
    )
    checkpoint: str | None = Field(
        default=None,
        description="Official SUPIR file (.ckpt or .safetensors) to put onto the SDXL of init; null: a new adapter.",
    )
    preset: Literal["mini", "tiny", "sdxl"] = Field(
        default="mini",
        description="Size of the network when init is fresh; with sdxl a dry run plans before the weights of init are "
        "there.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of order, crops, degradations, timesteps and noise.")
    device: str = Field(default="auto", description="auto (CUDA if there is one), cpu, cuda or cuda:N.")
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations in the backward pass: less memory, about a third more time.",
    )
    data: DataConfig
    optimize: OptimizeConfig = OptimizeConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    encoder: EncoderLossConfig = EncoderLossConfig()
    noise: NoiseLossConfig = NoiseLossConfig()
    adapter: AdapterConfig = AdapterConfig()
    validation: ValidationConfig = ValidationConfig()
    log_every: int = Field(default=10, ge=1, description="Steps between two lines of metrics.jsonl.")
    trace_every: int = Field(
        default=100, ge=1, description="Steps between two entries of traces.jsonl: all pairs of that step."
    )
    checkpoint_every: int = Field(default=500, ge=1, description="Steps between two checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Newest checkpoints kept.")
    incident_limit: int = Field(
        default=3,
        ge=0,
        description="Steps whose loss or gradient is no number that continuations pass over; one more ends the run for "
        "good.",
    )

    @model_validator(mode="after")
    def _checkpoint_has_a_base(self) -> TrainConfig:
        if self.checkpoint is not None and self.init in ("mini", "fresh"):
            raise ValueError(f"checkpoint={self.checkpoint} needs the SDXL it was trained on; set init to it")
        return self

    @model_validator(mode="after")
    def _fresh_is_small(self) -> TrainConfig:
        if self.init == "fresh" and self.preset == "sdxl":
            raise ValueError(
                "init=fresh with preset=sdxl: SDXL is not trained from nothing; set init to its weights"
            )
        return self

    @model_validator(mode="after")
    def _best_is_measured(self) -> TrainConfig:
        best, validation = self.validation.best, self.validation
        restores = self.stage != "prior" and validation.crops and validation.pictures
        if best in NEEDS_RESTORATION and not restores:
            why = "stage prior restores no pictures" if self.stage == "prior" else "no pictures are restored"
            raise ValueError(f"validation.best={best}, but {why}; use validation_loss")
        return self

    @model_validator(mode="after")
    def _sections_fit_the_stage(self) -> TrainConfig:
        if self.autoencoder.steps and self.stage != "prior":
            raise ValueError(
                f"autoencoder.steps={self.autoencoder.steps} belongs to stage prior, not {self.stage}; set it to 0"
            )
        for name, fit in (("optimize", self.optimize), ("autoencoder", self.autoencoder)):
            if fit.images_per_forward % self.data.crops_per_image:
                raise ValueError(
                    f"data.crops_per_image={self.data.crops_per_image} does not divide the {fit.images_per_forward} "
                    f"images of a forward pass of {name}; set {name}.batch to a multiple of it"
                )
        return self
