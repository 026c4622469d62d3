"""The JSON object in a model's answer, whatever stands around it."""

from __future__ import annotations

import json
from typing import Any

from supir_caption.cleaning import without_thinking


def object_in(answer: str) -> dict[str, Any]:
    """Returns the first JSON object of an answer; {} if there is none.

    Args:
        answer: as the model wrote it, thinking and fences included.
    """
    text = without_thinking(answer)
    decoder, start = json.JSONDecoder(strict=False), text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text[start:])
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        return value if isinstance(value, dict) else {}
    return {}
