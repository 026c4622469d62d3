"""`supir-caption compare`: one page with two captioners' captions of the same places side by side.

Place in the flow: after two runs over one dataset. Places are paired by their box, so captioners of different grids
share the whole pictures at least. See `rendering` for what holds of every page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from supir_caption.pages.marking import agreement, said, with_own_words
from supir_caption.pages.rendering import percent, place_of, render, side_of
from supir_caption.pages.report import FIGURES, charts, figures, scope
from supir_caption.pages.stored import Stored
from supir_caption.pages.tally import Example, Fewest, Tally, faults_of, quantile
from supir_caption.pages.views import Place, thumbnails
from supir_shards import Caption

TEMPLATE = "compare.html.j2"
LITTLE_IN_COMMON = 0.15


@dataclass(slots=True)
class _Pairs:
    """The examples of one group: of each pair the first caption is the example, the second stands beside it."""

    name: str
    examples: Fewest
    captions: int = 0

    def add(self, example: Example) -> None:
        self.captions += 1
        self.examples.add(example)


@dataclass(slots=True)
class Compared:
    """What comparing two captioners came to.

    Attributes:
        tallies: of each, over the places that both have.
        groups: of places that are shown, by what they are shown for.
        both, only_one, only_other: places that have captions of both, of one alone.
        checks_of_both: places where both captions have the check.
        agreements: places by the hundredths of words that the two texts have in common.
    """

    tallies: tuple[Tally, Tally]
    groups: dict[str, _Pairs] = field(default_factory=dict)
    both: int = 0
    only_one: int = 0
    only_other: int = 0
    checks_of_both: Counter[str] = field(default_factory=Counter)
    agreements: Counter[int] = field(default_factory=Counter)


def compare(one: Stored, other: Stored, examples: int) -> tuple[bytes, dict[str, Any]]:
    """Returns the page about two captioners' captions, and its figures as JSON-serialisable values.

    Args:
        one: the captions of the same parts as `other`'s.
        other: and its.
        examples: places that are shown of each group.
    """
    compared = _counted(one, other, examples)
    names = (one.name, other.name)
    groups = [group for group in compared.groups.values() if group.captions]
    chosen = [example for group in groups for example in group.examples.examples()]
    shown = thumbnails(one.dataset, chosen)
    partners = _partners(other, chosen)
    page = render(
        TEMPLATE,
        names=names,
        scope=scope(one),
        places=compared,
        checks=_checks(compared),
        charts=charts(list(compared.tallies)),
        figures=list(zip(FIGURES, *(figures(tally) for tally in compared.tallies), strict=True)),
        agreement=percent(quantile(compared.agreements, 0.5), 100),
        groups=[
            {
                "name": group.name,
                "captions": group.captions,
                "cards": [_card(example, partners, shown) for example in group.examples.examples()],
            }
            for group in groups
        ],
    )
    return page, _summary(names, compared)


def _counted(one: Stored, other: Stored, examples: int) -> Compared:
    compared = Compared((Tally(0), Tally(0)))
    names = (
        "at random",
        "little in common",
        f"found by a check in {one.name} alone",
        f"found by a check in {other.name} alone",
    )
    chance, differing, only_one, only_other = (_Pairs(name, Fewest(examples, name)) for name in names)
    compared.groups = {group.name: group for group in (only_one, only_other, differing, chance)}
    for part in one.parts:
        for first, second in _places(one.read(part), other.read(part)):
            if first is None or second is None:
                compared.only_one += second is None
                compared.only_other += first is None
                continue
            example = Example(part, first)
            compared.both += 1
            compared.tallies[0].add(example)
            compared.tallies[1].add(Example(part, second))
            faults = faults_of(first).keys(), faults_of(second).keys()
            compared.checks_of_both.update(faults[0] & faults[1])
            in_common = agreement(first.text, second.text)
            compared.agreements[round(100 * in_common)] += 1
            chance.add(example)
            if in_common < LITTLE_IN_COMMON:
                differing.add(example)
            if faults[0] - faults[1]:
                only_one.add(example)
            if faults[1] - faults[0]:
                only_other.add(example)
    return compared


def _places(
    one: dict[str, list[Caption]], other: dict[str, list[Caption]]
) -> Iterator[tuple[Caption | None, Caption | None]]:
    """The captions of each place, None where one of the two has none."""
    for key in sorted(one.keys() | other.keys()):
        by_box = {caption.box: caption for caption in other.get(key, [])}
        for caption in one.get(key, []):
            yield caption, by_box.pop(caption.box, None)
        for caption in by_box.values():
            yield None, caption


def _partners(other: Stored, chosen: list[Example]) -> dict[Place, Caption]:
    """The other captioner's captions of the places that are shown."""
    found = {}
    for part in sorted({example.part for example in chosen}):
        captions = other.read(part)
        for example in chosen:
            if example.part == part:
                key, box = example.caption.key, example.caption.box
                found[key, box] = next(caption for caption in captions[key] if caption.box == box)
    return found


def _checks(compared: Compared) -> list[dict[str, Any]]:
    one, other = (tally.checks for tally in compared.tallies)
    rows = [
        {
            "name": name,
            "one": one[name].captions if name in one else 0,
            "other": other[name].captions if name in other else 0,
            "both": compared.checks_of_both[name],
        }
        for name in one.keys() | other.keys()
    ]
    return sorted(rows, key=lambda row: (-max(row["one"], row["other"]), row["name"]))


def _card(example: Example, partners: dict[Place, Caption], shown: dict[Place, str]) -> dict[str, Any]:
    first = example.caption
    second = partners[first.key, first.box]
    in_common = agreement(first.text, second.text)
    return {
        "key": first.key,
        "place": f"{place_of(first)}; {in_common:.0%} in common",
        "uri": shown.get((first.key, first.box), ""),
        "one": side_of(first, with_own_words(first.text, said(second.text))),
        "other": side_of(second, with_own_words(second.text, said(first.text))),
    }


def _summary(names: tuple[str, str], compared: Compared) -> dict[str, Any]:
    return {
        "names": list(names),
        "both": compared.both,
        "only": {names[0]: compared.only_one, names[1]: compared.only_other},
        "checks": {
            row["name"]: {names[0]: row["one"], names[1]: row["other"], "both": row["both"]}
            for row in _checks(compared)
        },
        "words": {name: tally.median_words() for name, tally in zip(names, compared.tallies, strict=True)},
        "in_common": quantile(compared.agreements, 0.5) / 100,
    }
