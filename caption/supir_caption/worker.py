"""What one Ray actor does: it holds an engine and captions one part of the dataset after the other.

Place in the flow: `run.py` starts these and hands them part names; no picture passes through the driver or
Ray's object store. The law: a part's captions appear in one step, after its list of failures, so a part is
either committed or not; until then each batch of finished pictures is stored (`unfinished`), so a worker that
is killed costs a batch, and the next one goes on where it stood and leaves the same bytes. A picture that ends
its worker every time is listed as a failure.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from supir_caption.ahead import Ahead
from supir_caption.assemble import captions_of
from supir_caption.clip_tokens import CountTokens, clip_token_counter
from supir_caption.config import CaptionConfig
from supir_caption.engines import load_engine, load_fallback
from supir_caption.fallback import Settling
from supir_caption.memory import give_back_freed_memory
from supir_caption.part_index import PartIndex
from supir_caption.picture import NO_TOKENS, Described, Engine, Picture, Prepared, Tokens, read_picture
from supir_caption.places import failures_path, unfinished_folder
from supir_caption.unfinished import Finished, Unfinished
from supir_images import BadImage
from supir_shards import Dataset, DatasetError, Quarantined, write_captions

if TYPE_CHECKING:
    from supir_shards import Record

UNANSWERED, ENGINE_DIED = "unanswered", "engine_died"
"""Reasons of failures, beside those of reading: the engine will not caption a picture; no engine outlives it."""


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What one batch came to: images and captions made, how many captions have each check, and the tokens used."""

    images: int
    captions: int
    checks: dict[str, int] = field(default_factory=dict)
    tokens: Tokens = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Measured:
    """What an engine did in a try, and the seconds it took."""

    batch: BatchDone
    seconds: float


class PartCaptioner:
    """Captions parts with one engine, which is loaded when the first part comes.

    Args:
        url: the dataset, absolute.
        config: the captioner.
        num_gpus: GPUs that this process may use.
        engine: one that is loaded already; None loads the config's.
    """

    def __init__(self, url: str, config: CaptionConfig, num_gpus: int, engine: Engine | None = None) -> None:
        self._dataset = Dataset(url)
        self._config = config
        self._num_gpus = num_gpus
        self._given_engine = engine

    @cached_property
    def _engine(self) -> Engine:
        if self._given_engine is not None:
            return self._given_engine
        if self._config.engine != "tags":
            return load_engine(self._config, self._num_gpus)
        give_back_freed_memory()  # there is one such worker a core
        engine = load_engine(self._config, self._num_gpus)
        self._count  # noqa: B018 - loaded now, so that what loading leaves behind is given back with the engine's
        give_back_freed_memory()
        return engine

    @cached_property
    def _second_engine(self) -> Engine | None:
        return load_fallback(self._config)

    def _settling(self, index: PartIndex) -> Settling:
        def read(key: str) -> Picture | None:
            try:
                return self._picture(self._dataset.read_sample(index.part, index.row(key)))
            except (BadImage, DatasetError):
                return None

        return Settling(self._config.fit, lambda: self._second_engine, read)

    def _picture(self, record: Record) -> Picture:
        return read_picture(
            record.key,
            record.image,
            self._config.regions,
            role=str(record.role),
            metadata={"alt_text": record.text, "source": record.source, "licence": record.licence},
        )

    @cached_property
    def _count(self) -> CountTokens:
        return clip_token_counter()

    def caption_part(self, part: str) -> Iterator[BatchDone]:
        """Yields after each batch; when it ends, the part is committed.

        Args:
            part: name of a committed part of the dataset.

        Raises:
            UserError: the engine cannot be loaded, or its endpoint answers nobody.
            DatasetError: the part's index cannot be read.
        """
        engine = self._engine  # loaded here, in the actor's own thread
        config = self._config
        index = PartIndex(self._dataset, part)
        unfinished = Unfinished(
            self._dataset.store, unfinished_folder(config.folder, config.made_by_hash(), part)
        )
        finished, alone, given_up = unfinished.begin()
        died = [_failed(part, key, ENGINE_DIED, "no worker outlived it") for key in given_up]
        unfinished.add(died)
        finished += died
        if finished:
            yield _batch(finished)
        for key in alone:
            unfinished.taken_alone(key)
            one = list(self._described(index, engine, [key], []))
            unfinished.add(one)
            unfinished.survived(key)
            finished += one
            yield _batch(one)
        done = {one.key for one in finished}
        todo = [key for key in index.keys(config.roles) if key not in done]
        unreadable: list[dict[str, str]] = []
        rest = self._described(index, engine, todo, unreadable, unfinished)
        while batch := list(islice(rest, config.run.batch_images)):
            unfinished.add(batch)
            finished += batch
            yield _batch(batch)
        self._commit(part, finished, unreadable)
        unfinished.clear()

    def measure(self, part: str, num_images: int) -> Measured:
        """Captions images of a part, stores nothing, and returns what that took; one more goes before, to warm up.

        Where the part has hardly any, the one that warms up is among the measured: the others may be unreadable.
        """
        index = PartIndex(self._dataset, part)
        keys = index.keys(self._config.roles)[: num_images + 1]
        warm, timed = keys[:1], keys[1:] if len(keys) > 2 else keys
        for _ in self._described(index, self._engine, warm, []):
            pass
        started = time.perf_counter()
        batch = _batch(list(self._described(index, self._engine, timed, [])))
        return Measured(batch, time.perf_counter() - started)

    def _described(
        self,
        index: PartIndex,
        engine: Engine,
        keys: Sequence[str],
        unreadable: list[dict[str, str]],
        unfinished: Unfinished | None = None,
    ) -> Iterator[Finished]:
        """The samples of these keys, as the engine is done with them; what cannot be read goes to `unreadable`."""
        part = index.part

        def prepared(record: Record) -> Prepared | None:
            try:
                picture = self._picture(record)
            except BadImage as error:
                unreadable.append(_failure(part, record.key, str(error.reason), error.detail))
                return None
            return Prepared(picture.key, picture.boxes, engine.prepare(picture))

        records = self._records(part, keys, unreadable, unfinished)
        pictures = Ahead(records, prepared, depth=engine.num_ahead, threads=self._config.run.prepare_threads)
        try:
            for described in self._settling(index).settled(engine.describe(pictures)):
                yield self._finished(part, described)
        finally:
            pictures.close()

    def _records(
        self,
        part: str,
        keys: Sequence[str],
        unreadable: list[dict[str, str]],
        unfinished: Unfinished | None,
    ) -> Iterator[Record]:
        """The records of these keys, in order; before one is handed on, it is noted as in work, with the next ones."""

        def note(bad: Quarantined) -> None:
            unreadable.append(_failure(part, bad.name, str(bad.reason), bad.detail))

        wanted = {key: number for number, key in enumerate(keys)}
        noted = 0
        for record in self._dataset.samples([part], on_bad=note):
            number = wanted.get(record.key)
            if number is None:
                continue
            if unfinished is not None and number >= noted:
                noted = number + self._config.run.batch_images
                unfinished.taken(keys[number:noted])
            yield record
            if unfinished is None and number == len(keys) - 1:
                return  # what else the part holds was, or will be, read by a whole pass

    def _finished(self, part: str, described: Described) -> Finished:
        picture = described.picture
        if described.problem:
            return _failed(part, picture.key, UNANSWERED, described.problem, described.tokens)
        captions = captions_of(
            picture.key,
            picture.boxes,
            described.descriptions,
            model=self._engine.model,
            count=self._count,
            short_tokens=self._config.short_tokens,
        )
        return Finished(picture.key, tuple(captions), described.tokens)

    def _commit(self, part: str, finished: Sequence[Finished], unreadable: list[dict[str, str]]) -> None:
        path = failures_path(self._config.folder, part)
        failures = [*unreadable, *(one.failure for one in finished if one.failure)]
        if failures:
            failures.sort(key=lambda failure: (failure["sample"], failure["reason"]))
            lines = (json.dumps(failure, sort_keys=True, ensure_ascii=False) for failure in failures)
            self._dataset.store.write(path, "".join(f"{line}\n" for line in lines).encode())
        else:
            self._dataset.store.delete(path)
        captions = (caption for one in finished for caption in one.captions)
        write_captions(self._dataset.store, self._config.folder, part, captions)


def _failure(part: str, sample: str, reason: str, detail: str) -> dict[str, str]:
    return {"part": part, "sample": sample, "reason": reason, "detail": detail}


def _failed(part: str, key: str, reason: str, detail: str, tokens: Tokens = NO_TOKENS) -> Finished:
    return Finished(key, (), tokens, _failure(part, key, reason, detail))


def _batch(finished: Iterable[Finished]) -> BatchDone:
    finished = list(finished)
    captions = [caption for one in finished for caption in one.captions]
    return BatchDone(
        images=sum(1 for one in finished if one.captions),
        captions=len(captions),
        checks=dict(Counter(name for caption in captions for name in caption.checks)),
        tokens=sum((one.tokens for one in finished), NO_TOKENS),
    )
