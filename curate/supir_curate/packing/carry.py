"""Samples of another dataset written into this one as they are, with their captions.

Place in the flow: `pack` hands in the parts whose source is a dataset. The law: key, stored bytes, origin, source,
licence, text and texture map stay; the role is the selected one (the sample's own, unless it is told anew), and scores
that were given since are added. Captions go with every sample that is carried; of two captioners of one name but other
configs the one of the dataset that was named first goes, and the other is told of (`captions_left_out`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from supir_curate.failures import note_changed
from supir_curate.scores import PREFIX
from supir_curate.sources.dataset import dataset_at, source_part
from supir_curate.sources.plan import Plan, read_candidates
from supir_shards import (
    Dataset,
    DatasetError,
    Role,
    Sample,
    Store,
    caption_path,
    read_captions,
    write_captions,
)
from supir_shards.layout import CAPTIONS

CAPTIONER = "report/captions/{}/config.json"
"""Where `supir-caption` keeps under what config a name's captions were made."""


def carried_samples(
    store: Store, plan: Plan, part: str, ledger: dict[int, Any], roles: dict[int, Role]
) -> Iterator[Sample]:
    """Yields the kept samples of a part, then writes their captions and notes those that can no longer be read.

    Args:
        store: the dataset that is made.
        plan: its plan.
        part: name of a part whose source is a dataset.
        ledger: its rows by number.
        roles: numbers of the kept ones and what they are for.
    """
    candidates = read_candidates(store, part)
    dataset = Dataset(_place(plan, part))
    theirs = source_part(candidates[0].file)
    index = {row["key"]: row for row in dataset.index(theirs).to_pylist()}
    changed, keys = [], set[str]()
    for number in sorted(roles):
        one, scored = candidates[number], ledger[number]
        try:
            if index.get(one.key, {}).get("sha256") != scored["sha256"]:
                raise DatasetError(
                    f"{dataset.store.url} no longer has sample {one.key} with the bytes it had"
                )
            record = dataset.read_sample(theirs, index[one.key])
        except (DatasetError, OSError) as error:
            changed.append((number, one.url, str(error)))
            continue
        keys.add(one.key)
        scores = record.scores | _scores(scored)
        yield replace(record, role=roles[number], licence=one.licence, scores=scores)
    for name in carried_captioners(plan).get(dataset.store.url, ()):
        _carry_captions(dataset.store, theirs, store, part, name, keys)
    note_changed(store, part, changed)  # before the index, which marks the part as done


def carried_captioners(plan: Plan) -> dict[str, list[str]]:
    """Returns the names of the captioners whose captions go along, by the place of the dataset."""
    return {place: [name for name, goes in told if goes] for place, told in _captioners(plan).items()}


def captions_left_out(plan: Plan) -> list[str]:
    """Returns which captions do not go along, as DATASET: NAME; another dataset has other ones of that name."""
    return [
        f"{place}: {name}" for place, told in _captioners(plan).items() for name, goes in told if not goes
    ]


def carry_captioners(store: Store, plan: Plan) -> None:
    """Writes under what configs the carried captions were made, so that `supir-caption` goes on with them."""
    for place, names in carried_captioners(plan).items():
        for name in names:
            path = CAPTIONER.format(name)
            if not store.exists(path) and (record := _record(Store(place), name)):
                store.write(path, record)


def _captioners(plan: Plan) -> dict[str, list[tuple[str, bool]]]:
    first: dict[str, bytes] = {}
    found: dict[str, list[tuple[str, bool]]] = {}
    for piece in plan.all_pieces():
        if piece.kind == "dataset":
            source = Store(dataset_at(piece.source) or piece.source)
            found[source.url] = [
                (name, first.setdefault(name, _record(source, name)) == _record(source, name))
                for name in source.folders(CAPTIONS)
            ]
    return found


def _record(source: Store, name: str) -> bytes:
    path = CAPTIONER.format(name)
    return source.read(path) if source.exists(path) else b""


def _carry_captions(source: Store, theirs: str, store: Store, part: str, name: str, keys: set[str]) -> None:
    if source.exists(caption_path(name, theirs)):
        by_key = read_captions(source, name, theirs)
        kept = (caption for key, captions in by_key.items() if key in keys for caption in captions)
        write_captions(store, name, part, kept)


def _scores(row: dict[str, Any]) -> dict[str, float]:
    """Returns the scores of a ledger row, those it has."""
    values = {name.removeprefix(PREFIX): value for name, value in row.items() if name.startswith(PREFIX)}
    return {name: value for name, value in values.items() if value is not None and not math.isnan(value)}


def _place(plan: Plan, part: str) -> str:
    source = plan.piece_of(part).source
    return dataset_at(source) or source
