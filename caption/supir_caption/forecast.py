"""What a run costs before it is paid for: rates that were measured on some of its own images, times what is left.

Place in the flow: `run.dry_run`. Prices are the user's; nothing here knows anybody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supir_caption.config import CaptionConfig
    from supir_caption.picture import Tokens
    from supir_caption.worker import Measured


def forecast(
    captions: int, tried: Measured, config: CaptionConfig, *, workers: int, num_gpus: int
) -> dict[str, Any]:
    """Returns rates, hours, tokens and money as JSON-serialisable figures.

    Args:
        captions: that are to be made.
        tried: what a worker did with some images.
        config: the prices.
        workers: that the run will have.
        num_gpus: of each.
    """
    made = tried.batch.captions
    if not made:
        return {
            "measured_captions": 0,
            "note": "none of the images that were tried got a caption: see --debug",
        }
    share = captions / made
    hours = share * tried.seconds / 3600
    prompt, answer = round(tried.batch.tokens.prompt * share), round(tried.batch.tokens.answer * share)
    return {
        "measured_images": tried.batch.images,
        "measured_captions": made,
        "captions_per_s": round(made / tried.seconds, 3),
        "workers": workers,
        "worker_hours": round(hours, 3),
        "gpu_hours": round(hours * num_gpus, 3),
        "elapsed_hours": round(hours / workers, 3),
        "prompt_tokens": prompt,
        "answer_tokens": answer,
        "cost": round(hours * config.run.price_per_worker_hour + _price(prompt, answer, config), 2),
    }


def money(tokens: Tokens, config: CaptionConfig) -> dict[str, Any]:
    """Returns the tokens that answers took, and what the endpoint charges for them; nothing without tokens."""
    if not (tokens.prompt or tokens.answer):
        return {}
    figures: dict[str, Any] = {"prompt_tokens": tokens.prompt, "answer_tokens": tokens.answer}
    if config.engine == "openai":
        figures["cost"] = round(_price(tokens.prompt, tokens.answer, config), 4)
    return figures


def _price(prompt: int, answer: int, config: CaptionConfig) -> float:
    if config.engine != "openai":
        return 0.0
    prices = config.openai.endpoint
    return (
        prompt * prices.price_per_million_prompt_tokens + answer * prices.price_per_million_answer_tokens
    ) / 1e6
