"""The `data` section of a run's config: which samples are read, and what is made of each."""

from __future__ import annotations

from os.path import expanduser
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from supir_console import Config
from supir_train.words import CaptionWeights

Location = Annotated[str, AfterValidator(expanduser)]
"""A file, a folder or a URL; no shell expands a ~ inside of KEY=VALUE or YAML."""


LARGEST_TOLD_SIDE_PX = 65536


class DataConfig(Config):
    """Which samples are read and what is made of each before it becomes a training pair."""

    dataset: Location = Field(description="Folder or fsspec URL of a dataset written by supir-curate.")
    captions: str | None = Field(
        default=None, description="Name of the caption set to read; null trains without captions."
    )
    negatives: Location | None = Field(
        default=None, description="Dataset with negative samples (supir-degrade negatives); null for none."
    )
    negative_share: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the images seen that are negative samples, 0 to 1 (with negatives).",
    )
    recipe: Location = Field(
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
        default=1,
        ge=0,
        le=1024,
        description="Loader processes; 0 loads in the training process. Changes no batch.",
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
        if not 0 < lowest <= highest <= LARGEST_TOLD_SIDE_PX:
            raise ValueError(
                f"size_condition_px={[lowest, highest]} is no range up to {LARGEST_TOLD_SIDE_PX} px; write the lower "
                "side first, as in [128, 1024]"
            )
        return self
