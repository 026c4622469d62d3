"""Which engine a config names, loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supir_console import UserError

if TYPE_CHECKING:
    from supir_caption.config import CaptionConfig
    from supir_caption.models import Model
    from supir_caption.picture import Engine


def load_engine(config: CaptionConfig, num_gpus: int) -> Engine:
    """Returns the config's engine, its model loaded.

    Args:
        config: the captioner.
        num_gpus: GPUs that this process may use.

    Raises:
        UserError: a package, the model or its weights are missing, or cannot be loaded.
    """
    if config.engine == "tags":
        from supir_caption.tags_engine import TagsEngine

        return TagsEngine(config.tags)
    from supir_caption.asking import AskingEngine

    return AskingEngine(config, load_model(config, num_gpus))


def load_fallback(config: CaptionConfig) -> Engine | None:
    """Returns the config's fallback engine, loaded, None where there is none; the GPUs are the first engine's.

    Raises:
        UserError: as `load_engine`.
    """
    return load_engine(config.model_copy(update={"engine": config.fallback}), 0) if config.fallback else None


def load_model(config: CaptionConfig, num_gpus: int) -> Model:
    """Returns what answers the config's questions, loaded.

    Args:
        config: the captioner.
        num_gpus: GPUs that this process may use.

    Raises:
        UserError: the engine has no model that could answer, or it cannot be loaded.
    """
    if config.engine == "openai":
        from supir_caption.openai_model import OpenAIModel

        return OpenAIModel(config)
    if config.engine == "transformers":
        from supir_caption.transformers_model import TransformersModel

        return TransformersModel(config, num_gpus)
    if config.engine == "tags":
        raise UserError("engine tags answers no questions; use --engine openai, vllm or transformers")
    from supir_caption.vllm_model import VllmModel

    return VllmModel(config, num_gpus)
