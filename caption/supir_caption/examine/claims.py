"""The audit's question and its answer: does the picture show what each sentence of a caption says?

Place in the flow: `audit` asks it of another model than the one that wrote the captions. The law: a verdict belongs to
one sentence; an answer that does not give one verdict for each sentence counts as none, and is counted. Sentence by
sentence, because a wrong detail hides in a caption that is right as a whole.
Source: VisualFactChecker (arXiv 2404.19752) checks claims one by one; HalDec-Bench (2026) finds that judges trust a
caption's start too much, hence the numbers and the verdict for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from supir_caption.cleaning import without_thinking
from supir_caption.json_answers import object_in
from supir_caption.splitting import split_sentences

SHOWN, NOT_SHOWN, UNSURE = "shown", "not shown", "cannot be told"
VERDICTS = (SHOWN, NOT_SHOWN, UNSURE)
MAX_CLAIMS = 16
_Z = 1.96  # of a 95 % interval


def claims_of(text: str) -> list[str]:
    """Returns the sentences of a caption that are judged, the first 16."""
    return split_sentences(text)[:MAX_CLAIMS]


def audit_words(claims: Sequence[str]) -> str:
    """Returns the question about a picture and what is said of it."""
    said = "\n".join(f"{number}. {claim}" for number, claim in enumerate(claims, start=1))
    return (
        "Somebody described this image in the numbered sentences below. Look at the image and judge each sentence on"
        f" its own, the last as strictly as the first.\n{said}\n"
        f'"{SHOWN}": everything that the sentence states can be seen.'
        f' "{NOT_SHOWN}": something that it states is not there, or is otherwise.'
        f' "{UNSURE}": the image does not let one tell.\n'
        f'Answer with a JSON object: {{"verdicts": [one of "{SHOWN}", "{NOT_SHOWN}", "{UNSURE}" for each of the'
        f" {len(claims)} sentences]}}"
    )


def audit_schema(num_claims: int) -> dict[str, Any]:
    """Returns the JSON schema of the answer."""
    verdicts = {
        "type": "array",
        "items": {"enum": list(VERDICTS)},
        "minItems": num_claims,
        "maxItems": num_claims,
    }
    return {
        "type": "object",
        "properties": {"verdicts": verdicts},
        "required": ["verdicts"],
        "additionalProperties": False,
    }


def verdicts_in(answer: str, num_claims: int) -> tuple[str, ...] | None:
    """Returns the verdict on each claim; None if the answer does not give one for each.

    Args:
        answer: a model's.
        num_claims: how many were asked about.
    """
    given = object_in(without_thinking(answer)).get("verdicts")
    if not isinstance(given, list) or len(given) != num_claims:
        return None
    verdicts = tuple(str(one).strip().lower().replace("_", " ") for one in given)
    return verdicts if all(one in VERDICTS for one in verdicts) else None


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit came to.

    Attributes:
        captions: that were judged.
        unanswered: whose answer gave no verdicts.
        claims: sentences by verdict.
        wrong_captions: with a sentence that is not shown.
    """

    captions: int
    unanswered: int
    claims: dict[str, int]
    wrong_captions: int

    def summary(self) -> dict[str, Any]:
        """Returns the figures, each rate with its 95 % interval (Wilson), as JSON-serialisable values."""
        told = self.claims[SHOWN] + self.claims[NOT_SHOWN]
        return {
            "captions": self.captions,
            "unanswered": self.unanswered,
            "claims": self.claims,
            "claims_not_shown": rate(self.claims[NOT_SHOWN], told),
            "captions_with_one": rate(self.wrong_captions, self.captions),
        }


def audited(verdicts: Iterable[tuple[str, ...] | None]) -> Audited:
    """Returns the counts over all captions that were asked about."""
    claims: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
    captions = unanswered = wrong = 0
    for of_one in verdicts:
        if of_one is None:
            unanswered += 1
            continue
        captions += 1
        claims.update(of_one)
        wrong += NOT_SHOWN in of_one
    return Audited(captions, unanswered, dict(claims), wrong)


def rate(part: int, whole: int) -> dict[str, float] | None:
    """Returns a share with the ends of its 95 % interval (Wilson); None of nothing."""
    if not whole:
        return None
    share, weight = part / whole, 1 + _Z**2 / whole
    middle = (share + _Z**2 / (2 * whole)) / weight
    half = _Z / weight * sqrt(share * (1 - share) / whole + _Z**2 / (4 * whole**2))
    return {
        "share": round(share, 4),
        "low": round(max(0.0, middle - half), 4),
        "high": round(min(1.0, middle + half), 4),
    }
