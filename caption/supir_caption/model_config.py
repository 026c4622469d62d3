"""What the engines that ask a vision-language model can be told; each section's owner is the module of its name.

Place in the flow: parts of `config.CaptionConfig`. What shapes a caption stands apart from how fast it is made
(`EndpointConfig`), for only the first is part of the captions' identity.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from supir_caption.question_files import FILES, load_question
from supir_console import Config, UserError

_NEEDS_A_QUESTION = "at least one question"


class QuestionsConfig(Config):
    """The questions, by what a picture is; several are asked one after the other."""

    photo: tuple[str, ...] = Field(
        default=("dense", "short"),
        description="of a whole photo: shipped names or .yaml files; first the text, then the short text",
    )
    region: tuple[str, ...] = Field(default=("region", "short"), description="of a region of a photo or face")
    face: tuple[str, ...] = Field(default=("face", "short"), description="of a whole face")
    negative: tuple[str, ...] = Field(
        default=("negative",), description="of a negative sample and its regions"
    )

    @field_validator("photo", "region", "face", "negative")
    @classmethod
    def _are_there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError(_NEEDS_A_QUESTION)
        for name in names:
            try:
                load_question(name)
            except UserError as error:
                raise ValueError(str(error)) from error
        return names

    def names_for(self, role: str, region: int) -> tuple[str, ...]:
        """Returns the names for one place of a sample of a role."""
        if role == "negative":
            return self.negative
        return self.region if region else self.face if role == "face" else self.photo

    def with_absolute_files(self) -> QuestionsConfig:
        """Returns the same questions for a process whose working folder is another."""
        return self.model_copy(
            update={
                role: tuple(str(Path(name).absolute()) if name.endswith(FILES) else name for name in names)
                for role, names in self.model_dump().items()
            }
        )

    def all_names(self) -> list[str]:
        """Returns every name once."""
        return sorted({*self.photo, *self.region, *self.face, *self.negative})


class AskConfig(Config):
    """How a model answers."""

    temperature: float = Field(default=0.2, ge=0.0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(default=0.7, gt=0.0, le=1.0, description="nucleus of the sampling")
    max_tokens: int = Field(default=512, ge=1, description="tokens of one answer at most")
    retry_temperatures: tuple[float, ...] = Field(
        default=(0.5, 0.8),
        max_length=8,
        description="sampling temperatures of the new tries for an answer that is none (fit.ask_again)",
    )
    max_megapixels: float | None = Field(
        default=None,
        gt=0.0,
        description="of a picture that the model is given, at most; null: what its processor takes",
    )

    @field_validator("retry_temperatures")
    @classmethod
    def _are_temperatures(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(value < 0.0 for value in values):
            raise ValueError("temperatures are 0 or above")
        return values


class VllmConfig(Config):
    """A model that vLLM runs in the worker's process."""

    model: str = Field(
        default="Qwen/Qwen3-VL-4B-Instruct",
        description="any vision model that vLLM knows: a folder or a hub id",
    )
    revision: str | None = Field(
        default=None, description="branch, tag or commit of a hub id; null is its main branch"
    )
    max_model_len: int | None = Field(
        default=None,
        ge=64,
        description="tokens of picture, question and answer together at most; null: the model's own limit, or what"
        " the memory holds",
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that the model's repository brings; read it first"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="weights and arithmetic"
    )


class TransformersConfig(Config):
    """A model that transformers runs in the worker's process: slower, for models that vLLM has not."""

    model: str = Field(default="Qwen/Qwen3-VL-4B-Instruct", description="a folder or a hub id")
    revision: str | None = Field(
        default=None, description="branch, tag or commit of a hub id; null is its main branch"
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that the model's repository brings; read it first"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="weights and arithmetic"
    )


class EndpointConfig(Config):
    """How an endpoint is spoken to; nothing here changes a caption."""

    base_url: str | None = Field(
        default=None, description="http://host:8000/v1; null: OPENAI_BASE_URL, else OpenAI's own"
    )
    key_variable: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the key; a key itself is never configured",
    )
    timeout_s: float = Field(default=120.0, gt=0.0, description="of one request, seconds")
    retries: int = Field(
        default=8, ge=0, description="of one request that failed for no fault of its own, with growing waits"
    )
    longest_wait_s: float = Field(
        default=60.0, gt=0.0, description="between two tries at most, whatever the server asks for, seconds"
    )
    requests_per_minute: float | None = Field(
        default=None, gt=0.0, description="of the whole run; null: no limit"
    )
    tokens_per_minute: float | None = Field(
        default=None, gt=0.0, description="prompt and answer together, of the whole run; null: no limit"
    )
    price_per_million_prompt_tokens: float = Field(
        default=0.0, ge=0.0, description="in your currency, for the forecast and the summary"
    )
    price_per_million_answer_tokens: float = Field(default=0.0, ge=0.0, description="as above")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http(s) address; write for example http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("must hold no name or password; keys come from the environment only")
        return value

    def address(self) -> str:
        """Returns the endpoint's address."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


class OpenAIConfig(Config):
    """A model behind an endpoint that speaks OpenAI's chat completions, `vllm serve` for one."""

    model: str = Field(default="", description="the name that the endpoint knows it by; needed")
    processor: str | None = Field(
        default=None,
        description="folder or hub id of the model's processor, by which pictures are scaled before they are sent;"
        " null: they are sent as they are, shrunk to ask.max_megapixels (4 if null)",
    )
    picture_format: Literal["jpeg", "png"] = Field(
        default="jpeg", description="jpeg: quality 95, full colour; png: without loss, larger"
    )
    guided_json: bool = Field(
        default=True, description="hold answers to a question's JSON schema; false where the endpoint cannot"
    )
    endpoint: EndpointConfig = Field(default=EndpointConfig(), description="address, limits and prices")
