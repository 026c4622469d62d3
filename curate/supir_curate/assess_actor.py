"""What one Ray actor does: it holds every scorer and takes one part after the other through them.

Place in the flow: `assess` starts these and hands them part names; no picture passes through Ray's object store. The
law: every scorer is loaded before the first picture is read; a picture is read and decoded once for all of them; one
bad picture is a row with its reason; a part's answers of a scorer appear in one step and are then done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from supir_console import UserError, limit_threads
from supir_curate.config import CurateConfig
from supir_curate.pictures.picture import reduced
from supir_curate.score import short_reason
from supir_curate.scorers.contract import Answer, Identity, Rgb, Scorer
from supir_curate.sidecar import WEIGHTS, Rows, missing_rows, stamp, write_sidecar
from supir_curate.sources.originals import Original, read_originals
from supir_curate.sources.plan import Plan
from supir_images import decode, opaque
from supir_images.orientation import upright
from supir_shards import Store, ledger_path


class ChangedError(ValueError):
    """A picture's bytes are gone, or are not what was scored."""


class Assessed(NamedTuple):
    """What one batch came to: pictures, and how many of them a scorer could not answer."""

    images: int
    failed: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A picture after the CPU half of every scorer's work, or why a scorer has nothing of it."""

    row: int
    inputs: dict[str, Any]
    details: dict[str, str]


class PartAssessor:
    """Takes parts through all scorers.

    Args:
        dataset: path or URL of the dataset.
        plan: its plan.
        config: source, limits and scorers, with absolute paths.
        stamps: metadata of each scorer's answers, with the weights that it must have.
    """

    def __init__(
        self, dataset: str, plan: Plan, config: CurateConfig, stamps: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._store, self._plan = Store(dataset), plan
        self._config, self._stamps = config, stamps

    @cached_property
    def _scorers(self) -> dict[str, Scorer]:
        scorers = load_scorers(self._config)
        for name, scorer in scorers.items():
            ours = stamp_of(name, self._config, scorer.identity)[WEIGHTS]
            if ours != self._stamps[name][WEIGHTS]:
                raise UserError(
                    f"scorer {name} has weights {ours} on one node and {self._stamps[name][WEIGHTS]} on another;"
                    " install the same files everywhere"
                )
        return scorers

    def assess_part(self, part: str) -> Iterator[Assessed]:
        """Yields after each batch; when it ends, the part is committed.

        Raises:
            UserError: a scorer cannot be loaded, or the fetched bytes are gone.
        """
        scorers = self._scorers
        missing = missing_rows(self._store, part, self._config)
        wanted = {name: set(rows) for name, rows in missing.items()}
        answers: dict[str, Rows] = {name: {} for name in missing}
        pictures = self._prepared(part, wanted)
        while batch := list(islice(pictures, self._config.assess.batch_images)):
            failed = {picture.row for picture in batch if picture.details}
            for name in missing:
                answered = _answered(scorers[name], name, batch)
                failed |= {row for row, (_, detail) in answered.items() if detail}
                answers[name] |= answered
            yield Assessed(len(batch), len(failed))
        for name, rows in answers.items():
            names = [score.name for score in self._config.assess.scorers[name].scores(name)]
            write_sidecar(self._store, part, names, scorers[name].width, self._stamps[name], rows)

    def _prepared(self, part: str, wanted: dict[str, set[int]]) -> Iterator[_Prepared]:
        rows = set().union(*wanted.values())
        if not rows:
            return
        table = self._store.read_table(ledger_path(part), ["source_row", "sha256"])
        sha256 = dict(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))
        max_bytes = self._config.fetch.policy.max_bytes
        for original in read_originals(self._store, self._plan, part, rows.__contains__, max_bytes):
            names = [name for name, wants in wanted.items() if original.row in wants]
            yield self._prepare(original, sha256[original.row], names)

    def _prepare(self, original: Original, sha256: str, names: list[str]) -> _Prepared:
        try:
            rgb = open_picture(original, sha256, self._config.assess.side_px)
        # What score could measure may still be gone, or too odd for the colour conversion: one bad picture, one row.
        except Exception as error:
            return _Prepared(original.row, {}, dict.fromkeys(names, short_reason(error)))
        inputs: dict[str, Any] = {}
        details: dict[str, str] = {}
        for name in names:
            try:
                inputs[name] = self._scorers[name].prepare(rgb)
            except Exception as error:
                details[name] = short_reason(error)
        return _Prepared(original.row, inputs, details)


def load_scorers(config: CurateConfig) -> dict[str, Scorer]:
    """Returns every scorer of the config, loaded on this process's GPU if it was given one.

    Raises:
        UserError: one cannot be loaded; the message says how to get it.
    """
    limit_threads(1)  # one actor a core
    chosen = config.assess.scorers
    device = "cpu"
    if any(scorer.uses_gpu for scorer in chosen.values()):
        try:
            import torch
        except ImportError as error:
            raise UserError(
                f"scorers need torch ({error}); type: pip install 'supir-stack[scorers]'"
            ) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: scorer.load(name, device, config.assess.batch_images) for name, scorer in chosen.items()}


def load_identities(config: CurateConfig) -> dict[str, Identity]:
    """Returns what made the answers of each scorer; loads them all, so that a run is known to have them."""
    return {name: scorer.identity for name, scorer in load_scorers(config).items()}


def stamp_of(name: str, config: CurateConfig, identity: Identity) -> dict[str, str]:
    """Returns the metadata of a scorer's answers."""
    return stamp(name, config.assess.scorers[name], config.assess.side_px, identity)


def open_picture(original: Original, sha256: str, side_px: int) -> Rgb:
    """Returns the picture as scorers see it: sRGB, upright, its short side at most `side_px`.

    Raises:
        ChangedError: it is gone, or is not what was scored.
        BadImage: it cannot be decoded.
    """
    if hashlib.sha256(original.data).hexdigest() != sha256:
        detail = original.detail or f"other bytes: {len(original.data)}"
        raise ChangedError(f"changed since scored: {detail}")
    decoded = decode(original.data)
    return upright(reduced(opaque(decoded), side_px), decoded.header.orientation)


def _answered(scorer: Scorer, name: str, batch: list[_Prepared]) -> Rows:
    """Returns answer and detail of each picture of the batch that this scorer was to look at."""
    failed = {
        picture.row: (Answer({}), picture.details[name]) for picture in batch if name in picture.details
    }
    rows = [picture.row for picture in batch if name in picture.inputs]
    inputs = [picture.inputs[name] for picture in batch if name in picture.inputs]
    if not inputs:
        return failed
    try:
        return failed | {row: (answer, "") for row, answer in zip(rows, scorer.answer(inputs), strict=True)}
    except Exception as error:
        if _is_about_device(error):
            raise  # another worker may have the memory; the pictures are not to blame
        if len(inputs) == 1:
            return failed | {rows[0]: (Answer({}), short_reason(error))}
    return failed | {
        row: answered for picture in batch for row, answered in _answered(scorer, name, [picture]).items()
    }


def _is_about_device(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        word in str(error) for word in ("out of memory", "CUDA", "CUDNN")
    )
