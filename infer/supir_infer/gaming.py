"""Says in words where figures improved and pictures did not: the marks of a metric that was played.

Place in the flow: `eval_cli` asks it of a report's own rows (restored against the enlarged LQ) and of two runs.
Three marks: a metric without a reference improves while one that knows the reference, or the LQ, gets worse
(sharpening, noise, invented texture); one backbone of LPIPS improves while another witness gets worse (a network
trained against that backbone); a grid of a few pixels stands in the pictures.
The law it keeps: an alarm tells figures and names pictures to look at; it changes no figure. A change counts where
its 95 % interval leaves zero out; of a single picture, by its sign. That a metric without a reference claims an
improvement needs less: a better mean and two of three pictures, as a few pictures' intervals leave zero out only
where all agree.
Limits: an LQ's own noise and blocks count as consistency with it, so a run that cleans more is less consistent;
where all witnesses (LPIPS on two backbones, DISTS; two at least) call it nearer, that is no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from supir_console import counted
from supir_infer.comparison import PairedChange

NO_REFERENCE = ("niqe", "brisque", "musiq")
WITNESSES = ("lpips", "lpips_vgg", "dists")
CONSISTENCY = "consistency"
GRID_LEVELS = 0.5  # RMS; the eye sees it in a sky
GRID_FACTOR = 2.0  # over what the picture had before
MOST = 2 / 3
NUM_NAMED = 3

Identities = Mapping[str, Mapping[str, Any]]


def alarms(
    changes: Mapping[str, PairedChange], identities: Identities, *, judges_consistency: bool
) -> list[str]:
    """Returns what is suspicious about a change, a sentence each; none is a good sign and no proof.

    Args:
        changes: by metric.
        identities: by metric, of which `better` is read.
        judges_consistency: whether to expect the same consistency of both; not where one side is the LQ itself.
    """
    gained = [name for name in changes if _verdict(changes[name], identities[name]) > 0]
    lost = [name for name in changes if _verdict(changes[name], identities[name]) < 0]
    prettier = [name for name in changes if name in NO_REFERENCE and _claims(changes[name], identities[name])]
    further = [name for name in lost if name in WITNESSES]
    nearer = [name for name in gained if name in WITNESSES]
    witnessed = [name for name in changes if name in WITNESSES]
    is_nearer = len(nearer) > 1 and nearer == witnessed  # one alone likes noise in place of blur
    if judges_consistency and CONSISTENCY in lost and not is_nearer:
        further.append(CONSISTENCY)
    found = []
    if prettier and further:
        found.append(
            f"{_list(prettier, changes)} better while {_list(further, changes)} worse: nicer to a formula that sees no"
            f" original, further from the picture; look at {_most_lost(changes, further[0], identities)}"
        )
    split = [name for name in further if name in WITNESSES]
    if nearer and split:
        found.append(
            f"{_list(nearer, changes)} better while {_list(split, changes)} worse: the witnesses disagree, as after"
            f" training against the first; look at {_most_lost(changes, split[0], identities)}"
        )
    return found


def grid_alarm(
    pictures: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]] | None = None
) -> list[str]:
    """Returns one sentence where a grid stands in restored pictures that were not given with it.

    Args:
        pictures: `pictures` of a report.
        before: those of an earlier one; None holds a picture against its own row "bicubic", where it has one.
    """
    struck = dict(_gridded(pictures, before))
    if not struck:
        return []
    worst = sorted(struck, key=lambda name: -struck[name])[:NUM_NAMED]
    named = ", ".join(
        f"{name} ({struck[name]:.2f} levels {pictures[name]['where']['restored']['grid']})" for name in worst
    )
    return [
        f"a grid of a few pixels stands in {len(struck)} of {counted(len(pictures), 'picture')}: {named};"
        " no photo has one, and LPIPS on the backbone that a network was trained against does not see it"
    ]


def _gridded(
    pictures: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]] | None
) -> Iterator[tuple[str, float]]:
    for name, picture in pictures.items():
        figures = picture["figures"]
        if "grid" not in figures["restored"]:
            continue
        earlier = figures.get("bicubic", {}) if before is None else before.get(name, {}).get("figures", {})
        if before is not None:
            earlier = earlier.get("restored", {})
        level = figures["restored"]["grid"]
        if level > GRID_LEVELS and level > GRID_FACTOR * earlier.get("grid", 0.0):
            yield name, level


def _verdict(change: PairedChange, identity: Mapping[str, Any]) -> int:
    """1 clearly better, -1 clearly worse, 0 neither."""
    low, high = change.interval or (change.after - change.before,) * 2
    sign = (low > 0) - (high < 0)
    return sign if identity["better"] == "higher" else -sign


def _claims(change: PairedChange, identity: Mapping[str, Any]) -> bool:
    """Whether a table of this metric would show an improvement."""
    gain = change.after - change.before if identity["better"] == "higher" else change.before - change.after
    count = change.num_better + change.num_worse + change.num_equal
    return _verdict(change, identity) > 0 or (gain > 0 and change.num_better >= MOST * count)


def _list(names: list[str], changes: Mapping[str, PairedChange]) -> str:
    told = [f"{name} {changes[name].before:.4g} → {changes[name].after:.4g}" for name in names]
    verb = "is" if len(told) == 1 else "are"
    return f"{' and '.join(told)} {verb}"


def _most_lost(changes: Mapping[str, PairedChange], metric: str, identities: Identities) -> str:
    sign = 1 if identities[metric]["better"] == "higher" else -1
    lost = [name for name, before, after in changes[metric].moved_most if sign * (after - before) < 0]
    return ", ".join(lost[:NUM_NAMED])
