"""`supir-caption report`: one page about a captioner's captions, with the rate of every check and examples of it.

Place in the flow: after a run, on what it stored. The page lies beside the captions' failures; see `rendering` for
what holds of every page.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from supir_caption.pages.marking import marked
from supir_caption.pages.rendering import chart, percent, place_of, render, side_of
from supir_caption.pages.stored import Stored
from supir_caption.pages.tally import (
    WORDS_A_BAR,
    Example,
    Tally,
    bars,
    faults_of,
    found_words,
    quantile,
    token_bars,
)
from supir_caption.pages.views import Place, thumbnails
from supir_caption.places import all_failures_path

TEMPLATE = "report.html.j2"
WITHOUT = "nothing found"
TOP_WORDS, TOP_OPENINGS, MAX_DETAIL = 6, 5, 160


def report(stored: Stored, examples: int) -> tuple[bytes, dict[str, Any]]:
    """Returns the page about stored captions, and its figures as JSON-serialisable values.

    Args:
        stored: the captions.
        examples: captions that are shown of each check.
    """
    tally = Tally(examples)
    for part, caption in stored.captions():
        tally.add(Example(part, caption))
    groups = {name: tally.checks[name].examples.examples() for name in by_frequency(tally)}
    groups[WITHOUT] = tally.plain.examples()
    shown = thumbnails(stored.dataset, [example for group in groups.values() for example in group])
    counts = {name: one.captions for name, one in tally.checks.items()}
    page = render(
        TEMPLATE,
        name=stored.name,
        scope=scope(stored),
        tally=tally,
        checks=[
            {"name": name, "tally": tally.checks[name], "words": _often(tally.checks[name].words)}
            for name in by_frequency(tally)
        ],
        charts=charts([tally]),
        figures=list(zip(FIGURES, figures(tally), strict=True)),
        audits=[],
        failures=_failures(stored),
        failures_path=all_failures_path(stored.name),
        groups=[
            {
                "name": name,
                "captions": counts.get(name, tally.captions - tally.with_check),
                "cards": [_card(example, name, shown) for example in group],
            }
            for name, group in groups.items()
            if group
        ],
    )
    return page, summary(stored, tally)


def summary(stored: Stored, tally: Tally) -> dict[str, Any]:
    """Returns the figures of the page: captions, and of each check captions and their share."""
    return {
        "name": stored.name,
        "parts": stored.num_parts,
        "parts_read": len(stored.parts),
        "captions": tally.captions,
        "with_check": tally.with_check,
        "checks": {
            name: {"captions": one.captions, "rate": round(one.captions / tally.captions, 5)}
            for name, one in sorted(tally.checks.items())
        },
    }


def by_frequency(tally: Tally) -> list[str]:
    """Returns the names of the checks that found something, the most frequent first."""
    return sorted(tally.checks, key=lambda name: (-tally.checks[name].captions, name))


def scope(stored: Stored) -> str:
    """Returns what was read, in words."""
    what = "all of them" if len(stored.parts) == stored.num_parts else "evenly spread"
    parts = f"{len(stored.parts):,} of {stored.num_parts:,} captioned parts"
    return f"{stored.dataset.store.url}: {parts} were read, {what}."


def charts(tallies: list[Tally]) -> list[dict[str, Any]]:
    """Returns the histograms of words and of CLIP tokens, of one captioner or two."""
    words = [bars(tally.words, WORDS_A_BAR) for tally in tallies]
    longest = max(len(side) for side in words) * WORDS_A_BAR
    return [
        chart("words of the dense text", words, ["0", str(longest)]),
        chart(
            "CLIP tokens of the short text",
            [token_bars(tally.tokens) for tally in tallies],
            _token_labels(tallies),
        ),
    ]


FIGURES = (
    "words of the dense text, median (a tenth has fewer, a tenth more)",
    "CLIP tokens of the short text, median",
    "facts that the short text holds whole",
    "texts that another caption has word for word",
    "most frequent openings",
    "taken off the answers",
    "answered by",
)


def figures(tally: Tally) -> list[str]:
    """Returns the values of `FIGURES` in words."""
    low, middle, high = (quantile(tally.words, share) for share in (0.1, 0.5, 0.9))
    openings = [
        f"“{words} …” {percent(times, tally.captions)}"
        for words, times in tally.openings.most_common(TOP_OPENINGS)
    ]
    by = [
        f"{model}{f' ({prompt})' if prompt else ''}: {percent(times, tally.captions)}"
        for (model, prompt), times in sorted(tally.by.items(), key=lambda item: (-item[1], item[0]))
    ]
    return [
        f"{middle} ({low}, {high})",
        str(quantile(tally.tokens, 0.5)),
        f"{percent(tally.facts_in_short, tally.facts)} of {tally.facts:,}",
        f"{tally.same_text:,} ({percent(tally.same_text, tally.captions)})",
        ", ".join(openings) or "–",
        _often(tally.cleaned) or "nothing",
        "; ".join(by[:TOP_OPENINGS]) or "–",
    ]


def _token_labels(tallies: list[Tally]) -> list[str]:
    highest = max((max(tally.tokens, default=0) for tally in tallies), default=0)
    return ["0", str(highest // 5 * 5 + 5)]


def _often(words: Counter[str]) -> str:
    often = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:TOP_WORDS]
    return ", ".join(f"{word} ({times:,})" for word, times in often)


def _card(example: Example, check: str, shown: dict[Place, str]) -> dict[str, Any]:
    caption = example.caption
    words = faults_of(caption).get(check, "")
    return {
        "key": caption.key,
        "place": place_of(caption),
        "uri": shown.get((caption.key, caption.box), ""),
        "side": side_of(caption, marked(caption.text, found_words(check, words) if words else [])),
    }


def _failures(stored: Stored) -> list[dict[str, Any]]:
    """The pictures that have no captions, by reason, each with one detail for an example."""
    store, path = stored.dataset.store, all_failures_path(stored.name)
    counts: Counter[str] = Counter()
    details: dict[str, str] = {}
    for line in store.read(path).splitlines() if store.exists(path) else []:
        try:
            failure = json.loads(line)
            reason, detail = str(failure["reason"]), str(failure["detail"])
        except (ValueError, KeyError, TypeError):
            reason, detail = "unreadable line", ""
        counts[reason] += 1
        details.setdefault(reason, detail[:MAX_DETAIL])
    return [
        {"reason": reason, "pictures": pictures, "detail": details[reason]}
        for reason, pictures in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
