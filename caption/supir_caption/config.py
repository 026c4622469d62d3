"""Everything a captioning run can be told, with its unit and where the default comes from.

`record()` is the part that shapes the captions; `run` only says how fast they are made, so that a run may be
continued with other workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from supir_caption.fitness import FitConfig
from supir_caption.model_config import (
    AskConfig,
    OpenAIConfig,
    QuestionsConfig,
    TransformersConfig,
    VllmConfig,
)
from supir_caption.question_files import load_question
from supir_console import Config, hash_of

EngineName = Literal["vllm", "openai", "transformers", "tags"]

PRESETS: dict[str, tuple[str, ...]] = {
    "dense": (),
    # SUPIR's model, question and decoding: arXiv 2401.13627, A.2 and its demo.
    "paper": (
        "vllm.model=llava-hf/llava-1.5-13b-hf",
        "transformers.model=llava-hf/llava-1.5-13b-hf",
        "questions={photo: [paper], region: [paper], face: [paper]}",
        "ask={temperature: 0.2, top_p: 0.7, max_tokens: 512}",
    ),
}
"""Settings to start from, as --set would give them."""

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
    tells_detail: bool = Field(
        default=True, description="say how fine and crisp the detail is; false for a picture to be restored"
    )


class RunConfig(Config):
    """How the work is spread; nothing here changes a caption."""

    workers: int | None = Field(
        default=None,
        ge=1,
        description="Ray actors; null: one for each GPU (vllm, transformers) or CPU core (tags), one for openai",
    )
    cpus_per_worker: float = Field(
        default=1.0,
        gt=0.0,
        description="CPU cores that Ray reserves for an actor, and threads of its libraries",
    )
    gpus_per_worker: int | None = Field(
        default=None,
        ge=0,
        description="GPUs of an actor (tensor parallel when above 1); null: 1 where there are any and it has a use",
    )
    batch_images: int = Field(
        default=64, ge=1, description="images after which what is done is stored: what a crash costs"
    )
    in_flight: int | None = Field(
        default=None,
        ge=1,
        description="questions that an engine works on at once; null: 256 for vllm (64 on a CPU), 32 for openai,"
        " 8 for transformers",
    )
    prepare_threads: int = Field(
        default=2, ge=1, description="threads of an actor that decode, crop and scale beside the model"
    )
    memory_share: float = Field(
        default=0.9, gt=0.0, le=1.0, description="share of the GPU's (or CPU's) memory that vLLM takes"
    )
    kv_cache_gib: float | None = Field(
        default=None, gt=0.0, description="vLLM's key-value cache, GiB; null: what memory_share leaves"
    )
    attempts: int = Field(default=3, ge=1, description="times that a part is tried when its worker dies")
    measure_images: int = Field(
        default=16, ge=0, description="images that --dry-run captions to measure the engine; 0 only counts"
    )
    price_per_worker_hour: float = Field(
        default=0.0,
        ge=0.0,
        description="of a worker's machine, in your currency, for the forecast of --dry-run",
    )


class CaptionConfig(Config):
    """One captioner: its engine, its regions and the length of its short text."""

    name: str | None = Field(
        default=None, description="folder under captions/ that is written; null: the engine's name"
    )
    engine: EngineName = Field(
        default="vllm",
        description="vllm, transformers: a model in the worker; openai: an endpoint; tags: a measured description",
    )
    roles: tuple[Literal["photo", "face", "negative"], ...] = Field(
        default=("photo", "face"),
        description="sample roles to caption; negatives are trained on the negative prompt",
    )
    questions: QuestionsConfig = Field(
        default=QuestionsConfig(), description="what a model is asked; not for tags"
    )
    ask: AskConfig = Field(default=AskConfig(), description="how a model answers; not for tags")
    fit: FitConfig = Field(default=FitConfig(), description="what is done about answers that are no captions")
    fallback: Literal["openai", "transformers", "tags"] | None = Field(
        default=None,
        description="engine that is asked where the first one has no fit caption, without a GPU; null: none",
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
    openai: OpenAIConfig = Field(default=OpenAIConfig(), description="engine openai")
    transformers: TransformersConfig = Field(default=TransformersConfig(), description="engine transformers")
    tags: TagsConfig = Field(default=TagsConfig(), description="engine tags")
    run: RunConfig = Field(default=RunConfig(), description="speed and placement")

    @property
    def folder(self) -> str:
        """The captioner's name: its folder under captions/."""
        return self.name or self.engine

    def record(self) -> dict[str, Any]:
        """Returns what shapes the captions, and nothing else: two configs with the same record make the same ones.

        Questions stand in it by name, version and hash, and with their words, wherever their files lie.
        """
        shared = {"engine", "roles", "short_tokens", "seed", "regions", "fit", "fallback"}
        engines = {self.engine, *((self.fallback,) if self.fallback else ())}
        record = self.model_dump(mode="json", include={*shared, *engines}) | {"name": self.folder}
        if "openai" in engines:
            del record["openai"]["endpoint"]
        if engines != {"tags"}:
            record["ask"] = self.ask.model_dump(mode="json")
            asked = {name: load_question(name) for name in self.questions.all_names()}
            record["questions"] = {
                role: [asked[name].label for name in names]
                for role, names in self.questions.model_dump().items()
            }
            record["asked"] = {one.label: one.model_dump(mode="json") for one in asked.values()}
        return record

    def made_by_hash(self) -> str:
        """Returns 16 hex digits that are equal for two configs whose captions are equal."""
        return hash_of(self.record())
