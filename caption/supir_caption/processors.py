"""A model's own processor: how large it sees pictures, and how it wants a question put.

Place in the flow: `vllm_model`, `transformers_model` and, where one is given, `openai_model` ask it. Heavy
imports happen inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supir_caption.views import View, view_of
from supir_console import UserError

# LLaVA-1.5's template (vicuna_v1 without its system line): early LLaVA files bring none.
_VICUNA_TEMPLATE = "USER: {image}{question} ASSISTANT:"
_MAX_REASON = 300  # characters of a library's own message that a user is shown


def load_processor(model: str, revision: str | None = None, *, trust_remote_code: bool = False) -> Any:
    """Returns the transformers processor of a folder or hub id.

    Raises:
        UserError: there is none, or it is not one of pictures and text.
    """
    try:
        from transformers import AutoProcessor
    except ImportError as error:
        raise UserError(
            f"a model's processor needs transformers ({error}); type: pip install 'supir-stack[caption]'"
        ) from error
    try:
        processor = AutoProcessor.from_pretrained(
            model, revision=revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"the processor of {model!r} cannot be loaded: {short_reason(error)}") from error
    if getattr(processor, "image_processor", None) is None:
        raise UserError(f"{model!r} is no vision model: its processor takes no pictures")
    return processor


def view_for(processor: Any, max_megapixels: float | None) -> View:
    """Returns how pictures are given to the model."""
    return view_of(processor.image_processor.to_dict(), max_megapixels)


def prompt_of(processor: Any, question: str, num_pictures: int = 1) -> str:
    """Returns the model's chat template around the picture and then the question.

    Args:
        processor: the model's.
        question: the words.
        num_pictures: 0 for a question about words alone.

    Raises:
        UserError: the model brings no chat template.
    """
    if getattr(processor, "chat_template", None) is None:
        if type(processor).__name__ == "LlavaProcessor":
            image = f"{processor.image_token}\n" * num_pictures
            return _VICUNA_TEMPLATE.format(image=image, question=question)
        raise UserError(
            "the model's processor has no chat template; save one in its folder (chat_template.jinja), or serve"
            " it with vllm serve --chat-template FILE and use --engine openai"
        )
    message = {
        "role": "user",
        "content": [*[{"type": "image"}] * num_pictures, {"type": "text", "text": question}],
    }
    prompt: str = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return prompt


def signature(model: str, revision: str | None) -> str:
    """Returns a folder's own name or the hub id, so that the same captions are signed alike on every machine."""
    folder = Path(model)
    name = folder.resolve().name if folder.is_dir() else model
    return f"{name}@{revision}" if revision else name


def short_reason(error: Exception) -> str:
    """Returns an error's message on one line, cut to what a user reads."""
    return " ".join(str(error).split())[:_MAX_REASON]
