"""Everything a captioning run can be told, with its unit and where the default comes from.

`made_by()` is the part that shapes the captions; `run` only says how fast they are made, so that a run may be
continued with other workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from supir_console import Config, config_hash

# The question and the decoding of SUPIR (arXiv 2401.13627, A.2 and its demo).
QUESTION = "Describe this image and its style in a very detailed manner."
CLIP_CONTEXT_TOKENS = 75  # 77 less the start and the end token
# SUPIR's quality words, which the trainer adds to some captions and the restorer to all, and the full stop before them.
QUALITY_SUFFIX_TOKENS = 54


class RegionConfig(Config):
    """The grid of boxes that get a caption of their own."""

    size_px: int = Field(default=512, ge=64, description="side of a region, px; 512 is SUPIR's training crop")
    overlap: float = Field(
        default=0.0, ge=0.0, le=0.75, description="share of a region that its neighbour covers too, 0..0.75"
    )
    max_regions: int = Field(
        default=4, ge=0, le=64, description="regions of one image at most; 0 captions whole images only"
    )


class VllmConfig(Config):
    """What the vision-language model is asked, and how it answers."""

    model: str = Field(
        default="llava-hf/llava-1.5-13b-hf", description="LLaVA-architecture model: a folder or a hub id"
    )
    revision: str | None = Field(
        default=None, description="branch, tag or commit of a hub id; null is its main branch"
    )
    question: str = Field(
        default=QUESTION, min_length=1, description="what the model is asked about each picture"
    )
    temperature: float = Field(default=0.2, ge=0.0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(default=0.7, gt=0.0, le=1.0, description="nucleus of the sampling")
    max_tokens: int = Field(default=512, ge=1, description="tokens of one answer at most")
    retries: int = Field(
        default=1, ge=0, le=5, description="new tries for an answer that does not end by itself"
    )
    retry_temperature: float = Field(default=0.5, gt=0.0, description="sampling temperature of a new try")
    image_fit: Literal["pad", "shrink"] = Field(
        default="pad",
        description="pad: square with grey borders, as LLaVA-1.5 was trained; shrink: keep the shape (NeXT)",
    )
    image_side_px: int = Field(
        default=336, ge=16, description="longest side of the picture that the model is given, px"
    )
    max_model_len: int = Field(
        default=2048, ge=64, description="tokens of picture, question and answer together at most"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="weights and arithmetic"
    )


class TagsConfig(Config):
    """What the plain describer may claim."""

    weights: Path | None = Field(
        default=None, description="mobilenet_v2-b0353104.pth; null looks in the installed places"
    )
    sure_probability: float = Field(
        default=0.8, gt=0.0, le=1.0, description="a subject is stated from this probability on"
    )
    possible_probability: float = Field(
        default=0.5, gt=0.0, le=1.0, description="and called possible from this one on; below it is not named"
    )
    text_side_px: int = Field(default=640, ge=64, description="longest side on which text is looked for, px")
    text_score: float = Field(
        default=0.6, ge=0.0, le=1.0, description="a text area counts from this detector score on"
    )


class RunConfig(Config):
    """How the work is spread; nothing here changes a caption."""

    workers: int | None = Field(
        default=None,
        ge=1,
        description="Ray actors; null: one for each GPU (vllm) or CPU (tags) of the cluster",
    )
    cpus_per_worker: float = Field(
        default=1.0, gt=0.0, description="CPU cores that Ray reserves for an actor"
    )
    gpus_per_worker: int | None = Field(
        default=None,
        ge=0,
        description="GPUs of an actor (tensor parallel when above 1); null: vllm takes 1 where there are any",
    )
    batch_images: int = Field(
        default=64, ge=1, description="images that an actor hands to its engine at once"
    )
    memory_share: float = Field(
        default=0.9, gt=0.0, le=1.0, description="share of the GPU's (or CPU's) memory that vLLM takes"
    )
    kv_cache_gib: float | None = Field(
        default=None, gt=0.0, description="vLLM's key-value cache, GiB; null: what memory_share leaves"
    )
    attempts: int = Field(default=3, ge=1, description="times that a part is tried when its worker dies")
    captions_per_s: float = Field(
        default=2.5,
        gt=0.0,
        description="expected rate of one worker, only for the forecast of --dry-run; measure your own",
    )


class CaptionConfig(Config):
    """One captioner: its engine, its regions and the length of its short text."""

    name: str | None = Field(
        default=None, description="folder under captions/ that is written; null: the engine's name"
    )
    engine: Literal["vllm", "tags"] = Field(
        default="vllm", description="vllm: a LLaVA; tags: a plain measured description"
    )
    roles: tuple[Literal["photo", "face", "negative"], ...] = Field(
        default=("photo", "face"),
        description="sample roles to caption; negatives are trained on the negative prompt",
    )
    short_tokens: int = Field(
        default=CLIP_CONTEXT_TOKENS - QUALITY_SUFFIX_TOKENS,
        ge=8,
        le=CLIP_CONTEXT_TOKENS,
        description="CLIP tokens of the short text at most; behind 21 the quality suffix of the readers fits",
    )
    seed: int = Field(
        default=0, ge=0, description="seed of the sampling, mixed with each sample's key and region"
    )
    regions: RegionConfig = Field(default=RegionConfig(), description="regions with a caption of their own")
    vllm: VllmConfig = Field(default=VllmConfig(), description="engine vllm")
    tags: TagsConfig = Field(default=TagsConfig(), description="engine tags")
    run: RunConfig = Field(default=RunConfig(), description="speed and placement")

    @property
    def folder(self) -> str:
        """The captioner's name: its folder under captions/."""
        return self.name or self.engine

    def made_by(self) -> CaptionConfig:
        """Returns the config with everything that does not shape its captions set back to the default."""
        unused = {"tags": TagsConfig()} if self.engine == "vllm" else {"vllm": VllmConfig()}
        return self.model_copy(update={"name": self.folder, "run": RunConfig(), **unused})

    def made_by_hash(self) -> str:
        """Returns 16 hex digits that are equal for two configs whose captions are equal."""
        return config_hash(self.made_by())
