"""What a training run can be told: one pydantic model, read from YAML, written resolved into the run folder.

Other configs live with their owners: degradation recipes in `supir_degrade`, model presets in `supir_model`.
The law it keeps: a run that is continued with another value of a key outside `FREE_KEYS` is refused, so the config in
a run folder is the one that its weights come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from supir_console import Config
from supir_train.best import NEEDS_RESTORATION, BestFigure
from supir_train.data_config import DataConfig, Location
from supir_train.distill_config import DistillConfig
from supir_train.loss_config import EncoderLossConfig, NoiseLossConfig, StrengthConfig
from supir_train.optimize_config import AutoencoderConfig, OptimizeConfig

FREE_KEYS = (
    "run",
    "device",
    "shard",
    "data.cache_bytes",
    "data.workers",
    "gradient_checkpointing",
    "compile_blocks",
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
    "init",
    "checkpoint",
    "distill.teacher",
    "encoder.teacher",
    "data.dataset",
    "data.negatives",
    "data.recipe",
)
"""Keys that may change between a run and its continuation: how it runs, how long, and where what it reads now lies.

What lies there may not change: its hash is compared, see `provenance.py`.
Steps change only as far as the schedule stays the one that was begun, see `config_history.py`.
"""


class PriorConfig(Config):
    """Where `stage: prior` begins."""

    start: Literal["init", "fresh"] = Field(
        default="init",
        description="init: go on with the UNet and text encoders that init holds; fresh: new ones of preset's shape, "
        "on init's latents.",
    )


class AdapterConfig(Config):
    """Where `stage: adapter` begins."""

    start: Literal["init", "unet"] = Field(
        default="init",
        description="init: go on with the adapter that init holds; unet: control encoder copied from the UNet, new "
        "connectors.",
    )
    control_depth: tuple[int, int, int] | None = Field(
        default=None,
        description="With start unet: transformer blocks per level of the control encoder, from 1; its middle block "
        "has the last. SDXL and the released files have [1, 2, 10], the paper trims to [1, 1, 5]. null: as in init.",
    )
    connector: Literal["zero_sft", "zero_conv"] | None = Field(
        default=None,
        description="With start unet: zero_sft, the paper's connectors, or zero_conv, ControlNet's plain ones, for "
        "comparison. null: as in init.",
    )

    @model_validator(mode="after")
    def _shape_is_of_a_new_adapter(self) -> AdapterConfig:
        if self.control_depth and min(self.control_depth) < 1:
            raise ValueError(
                f"control_depth={list(self.control_depth)} has a level of none; use 1 or more each"
            )
        if self.start == "init" and (self.control_depth or self.connector):
            raise ValueError(
                "control_depth and connector shape a new adapter; set adapter.start=unet, or leave them out"
            )
        return self


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

    stage: Literal["prior", "encoder", "adapter", "distill", "estimator", "strength"] = Field(
        description="prior: VAE, then UNet and text encoders (small backbones); encoder: degradation-robust encoder; "
        "adapter: control encoder and connectors; distill: the same, as a student of few steps; estimator: tells how a "
        "picture was degraded; strength: tells how much of a restoration to take where, by the image terms of encoder."
    )
    run: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        description="Folder of the run: config, metrics, checkpoints and, at the end, model/."
    )
    init: Location = Field(
        default="mini",
        description="Weights to start from: mini (shipped), fresh (random, see preset), a folder RUN/model of another "
        "run, or SDXL (any finetune): a diffusers folder or a single file.",
    )
    checkpoint: Location | None = Field(
        default=None,
        description="Official SUPIR file (.ckpt or .safetensors) to put onto the SDXL of init; null: a new adapter.",
    )
    preset: Literal["mini", "tiny", "sdxl"] = Field(
        default="mini",
        description="Size of the network when init is fresh; with sdxl a dry run plans before the weights of init are "
        "there.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Seed of order, crops, degradations, timesteps and noise."
    )
    device: str = Field(default="auto", description="auto (CUDA if there is one), cpu, cuda or cuda:N.")
    shard: Literal["none", "full"] = Field(
        default="none",
        description="full: each process holds its share of what is trained, of its gradients, moments and average "
        "(FSDP2), not all of it; from two processes on, in the stages encoder and adapter. Changes rounding only.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations in the backward pass: less memory, about a third more time.",
    )
    compile_blocks: bool = Field(
        default=False,
        description="Compile the transformer blocks of UNet and control encoder (torch.compile); minutes at the start, "
        "faster steps on GPUs. Changes rounding only.",
    )
    data: DataConfig
    optimize: OptimizeConfig = OptimizeConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    encoder: EncoderLossConfig = EncoderLossConfig()
    noise: NoiseLossConfig = NoiseLossConfig()
    prior: PriorConfig = PriorConfig()
    adapter: AdapterConfig = AdapterConfig()
    distill: DistillConfig = DistillConfig()
    strength: StrengthConfig = StrengthConfig()
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
        for name, start, remedy in (
            ("init", self.init, "init to its weights"),
            ("prior.start", self.prior.start, "preset to mini or tiny"),
        ):
            if start == "fresh" and self.preset == "sdxl":
                raise ValueError(
                    f"{name}=fresh with preset=sdxl: SDXL is not trained from nothing; set {remedy}"
                )
        return self

    @model_validator(mode="after")
    def _shares_are_eager_and_of_full_width(self) -> TrainConfig:
        if self.shard == "full" and self.optimize.optimizer == "adamw8bit":
            raise ValueError(
                "optimize.optimizer=adamw8bit keeps no moments of shares; use adamw with shard=full, or shard=none"
            )
        if self.shard == "full" and self.compile_blocks:
            raise ValueError(
                "compile_blocks=true does not go with shard=full; set one of them to false or none"
            )
        return self

    @model_validator(mode="after")
    def _stage_can_be_shared_out(self) -> TrainConfig:
        if self.shard == "full" and self.encoder.plain_weight:
            raise ValueError(
                "shard=full holds no decoder in shares, which encoder.plain_weight trains; set one to none or 0"
            )
        if self.shard == "full" and self.encoder.working_scale == "auto":
            raise ValueError(
                "shard=full has all processes work at one size, and encoder.working_scale=auto each at those of its "
                "pictures; set shard=none, or a scale of 1 or 2"
            )
        if self.shard == "full" and self.stage not in ("encoder", "adapter"):
            raise ValueError(
                f"shard=full is for the stages encoder and adapter, not for {self.stage}; set shard=none"
            )
        return self

    @model_validator(mode="after")
    def _best_is_measured(self) -> TrainConfig:
        best, validation = self.validation.best, self.validation
        shows = self.stage not in ("prior", "estimator")
        restores = shows and validation.crops and validation.pictures
        if best in NEEDS_RESTORATION and not restores:
            why = "no pictures are restored" if shows else f"stage {self.stage} restores no pictures"
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
