"""The hours of GPUs that a run will take: captions of what is kept, scorers on what passes, negatives.

Place in the flow: `outlook` asks. The law: a rate is either the user's own, or assumed and named as such with its
source; scorers and negatives without a rate are not in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supir_console import UserError
from supir_curate.forecasting.forecast import Range

CAPTIONS, NEGATIVES = "captions", "negatives"
CAPTIONS_A_PICTURE = 5  # the whole and up to four regions, as supir-caption makes them
# Captions a second of one H100, a 4B model (Qwen3-VL-4B): long ones, and GPIC's
# whole corpus of short, medium and long ones (arXiv 2605.30341: 1500 H100-hours, 18.8 a second).
ASSUMED_CAPTIONS_A_SECOND, AT_BEST = 2.5, 18.8
NEGATIVES_A_PICTURE = 100_000 / 20_000_000  # SUPIR, section 4.1


def rates_from(texts: Sequence[str]) -> dict[str, float]:
    """Returns GPU rates by name, from texts such as "captions=18.8" (pictures a second of one GPU).

    Raises:
        UserError: a text has another form.
    """
    rates = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            rates[name] = float(number)
        except ValueError:
            rates[name] = 0.0
        if not equals or not name or not rates[name] > 0:
            raise UserError(f"--rate {text!r} is not NAME=PICTURES_A_SECOND, such as captions=18.8")
    return rates


def gpu_hours(
    rates: Mapping[str, float], kept: Range, passing: Range, samples_a_picture: float = 1.0
) -> dict[str, dict[str, Any]]:
    """Returns the hours of one GPU for each job, with what they rest on.

    Args:
        rates: job to pictures a second of one GPU; `captions`, `negatives`, else a scorer's name.
        kept: pictures that are kept.
        passing: pictures that scorers look at.
        samples_a_picture: stored for a kept one, and captioned: 1, or its crops.
    """
    samples = kept.times(samples_a_picture)
    pictures = {CAPTIONS: samples, NEGATIVES: samples.times(NEGATIVES_A_PICTURE)}
    found: dict[str, dict[str, Any]] = {}
    if CAPTIONS not in rates:
        captions = samples.times(CAPTIONS_A_PICTURE / 3600)
        hours = captions.times(1 / ASSUMED_CAPTIONS_A_SECOND)
        best = captions.low / AT_BEST
        found[CAPTIONS] = Range(hours.expected, best, hours.high).rounded(2) | {
            "rate": f"assumed: {CAPTIONS_A_PICTURE} captions a picture, {ASSUMED_CAPTIONS_A_SECOND} a second of an H100"
            f" ({AT_BEST} at best); name yours with --rate captions=PICTURES_A_SECOND"
        }
    for name, rate in rates.items():
        hours = pictures.get(name, passing).times(1 / rate / 3600)
        found[name] = hours.rounded(2) | {"rate": f"{rate:g} pictures a second, as given"}
    return found
