"""What the pages share: the template's environment, charts, shares in percent and a caption as it is shown.

The law of every page: no script, no link to anything outside the file, no clock; the same captions give the same
bytes, and everything that a captioner wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from supir_caption.budget import facts
from supir_caption.pages.tally import faults_of
from supir_caption.splitting import count_words
from supir_shards import Caption

CHART_PX = (300, 90)
SIDES = ("one", "other")


def render(template: str, **values: Any) -> bytes:
    """Returns the page, UTF-8."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("supir_caption.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values, percent=percent).encode()


def percent(part: int, whole: int) -> str:
    """Returns a share: "12 %", "0.4 %", "–" of nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or not part else f"{share:.2g} %"


def chart(title: str, heights: Sequence[list[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Returns a histogram of one side, or of two beside each other, as the templates draw it.

    Args:
        title: what is counted.
        heights: bars of each side, from 0 on.
        labels: below it, from left to right.
    """
    width, height = CHART_PX
    number = max((len(side) for side in heights), default=0)
    highest = max((max(side, default=0) for side in heights), default=0)
    step = width / max(1, number)
    bar = 0.86 * step / len(heights)
    drawn = [
        {
            "side": SIDES[index],
            "x": position * step + 0.07 * step + index * bar,
            "width": bar,
            "height": max(1.0, (height - 4) * count / highest),
        }
        for index, side in enumerate(heights)
        for position, count in enumerate(side)
        if count
    ]
    return {"title": title, "width": width, "height": height, "bars": drawn, "labels": list(labels)}


def side_of(caption: Caption, text: Markup) -> dict[str, Any]:
    """Returns one caption as the templates show it; `text` is its dense text with the marks in it."""
    tokens = max(caption.num_tokens_clip_l, caption.num_tokens_clip_g)
    kept = caption.checks.get("facts_in_short")
    notes = [f"{count_words(caption.text)} words", f"short: {tokens} CLIP tokens"]
    notes += [f"{kept} facts"] if kept else []
    notes += [
        f"{name}: {caption.checks[name]}"
        for name in ("cleaned", "answered_by", "tries")
        if name in caption.checks
    ]
    return {
        "text": text,
        "short": "" if caption.short_text == " ".join(facts(caption.text)) else caption.short_text,
        "faults": [f"{name}: {words}" for name, words in faults_of(caption).items()],
        "figures": " · ".join(notes),
    }


def place_of(caption: Caption) -> str:
    """Returns what a caption is about in words: "whole picture", "region 2: 256, 0 to 512, 256 px"."""
    x0, y0, x1, y1 = caption.box
    if not caption.region:
        return f"whole picture, {x1 - x0} x {y1 - y0} px"
    return f"region {caption.region}: {x0}, {y0} to {x1}, {y1} px"
