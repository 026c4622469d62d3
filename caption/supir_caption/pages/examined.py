"""What examinations of a captioner's captions found, in words, for the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from supir_caption.places import examined_path
from supir_shards import Store

Line = tuple[str, str]


def told(store: Store, name: str) -> list[Line]:
    """Returns a heading and a sentence for each examination there is; one that is damaged is named so.

    Args:
        store: the dataset's.
        name: the captioner's.
    """
    kinds: dict[str, Callable[[dict[str, Any]], Line]] = {"audit": _audit, "quiz": _quiz}
    lines = []
    for kind, words in kinds.items():
        path = examined_path(name, kind)
        if store.exists(path):
            try:
                lines.append(words(json.loads(store.read(path))))
            except (ValueError, KeyError, TypeError):
                lines.append((kind, f"{path} is damaged; run supir-caption {kind} again"))
    return lines


def _audit(found: dict[str, Any]) -> Line:
    claims = found["claims"]
    told_of = claims["shown"] + claims["not shown"]
    return (
        f"audit of {found['captions']:,} captions by {found['judge']}",
        f"{_rate(found['claims_not_shown'])} of the sentences say what the picture does not show"
        f" ({claims['not shown']:,} of {told_of:,}; of {claims['cannot be told']:,} it cannot be told);"
        f" {_rate(found['captions_with_one'])} of the captions have such a sentence;"
        f" {found['unanswered']:,} got no verdict",
    )


def _quiz(found: dict[str, Any]) -> Line:
    right = found["right"]
    return (
        f"quiz on {found['crops']:,} regions by {found['maker']}, read by {found['reader']}",
        f"of {found['questions']:,} questions {right['region']:,} are answered rightly from the region's caption,"
        f" {right['whole']:,} from the whole picture's, {right['without']:,} from none;"
        f" gain {found['gain']:+,} questions ({_rate(found['gain_share'])})",
    )


def _rate(rate: dict[str, float] | None) -> str:
    if rate is None:
        return "–"
    return f"{100 * rate['share']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
