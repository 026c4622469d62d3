"""What one Ray actor does: it holds an engine and captions one part of the dataset after the other.

Place in the flow: `run.py` starts these and hands them part names; no picture passes through the driver or
Ray's object store. The law: a part's captions appear in one step, after its list of failures, so a part is
either committed or not begun; killed and started again, it gives the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from supir_caption.assemble import captions_of
from supir_caption.budget import CountTokens, clip_token_counter
from supir_caption.config import CaptionConfig
from supir_caption.picture import Description, Engine, read_picture
from supir_caption.places import failures_path
from supir_images import BadImage
from supir_shards import Box, Caption, Dataset, Quarantined, write_captions

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What one batch came to: images and captions made, and how many captions have each check."""

    images: int
    captions: int
    checks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A picture after the CPU half of the engine's work; its pixels are no longer held but by `work`."""

    key: str
    boxes: tuple[Box, ...]
    work: Any


class PartCaptioner:
    """Captions parts with one engine, which is loaded when the first part comes.

    Args:
        url: the dataset, absolute.
        config: the captioner.
        num_gpus: GPUs that this process may use.
    """

    def __init__(self, url: str, config: CaptionConfig, num_gpus: int) -> None:
        self._dataset = Dataset(url)
        self._config = config
        self._num_gpus = num_gpus

    @cached_property
    def _engine(self) -> Engine:
        if self._config.engine == "tags":
            from supir_caption.tags_engine import TagsEngine

            return TagsEngine(self._config.tags)
        from supir_caption.vllm_engine import VllmEngine

        return VllmEngine(self._config, self._num_gpus)

    @cached_property
    def _count(self) -> CountTokens:
        return clip_token_counter()

    def caption_part(self, part: str) -> Iterator[BatchDone]:
        """Yields after each batch; when it ends, the part is committed.

        Args:
            part: name of a committed part of the dataset.

        Raises:
            UserError: the engine cannot be loaded.
            DatasetError: the part's index cannot be read.
        """
        engine = self._engine  # loaded here, in the actor's own thread
        batch_images = self._config.run.batch_images
        failures: list[dict[str, str]] = []
        captions: list[Caption] = []
        pictures = ahead(self._prepared(part, failures), batch_images)
        while batch := list(islice(pictures, batch_images)):
            described = engine.describe([picture.work for picture in batch])
            made = [
                caption
                for picture, descriptions in zip(batch, described, strict=True)
                for caption in self._captions(picture, descriptions)
            ]
            captions += made
            yield BatchDone(
                len(batch), len(made), dict(Counter(name for caption in made for name in caption.checks))
            )
        self._commit(part, captions, failures)

    def _prepared(self, part: str, failures: list[dict[str, str]]) -> Iterator[_Prepared]:
        def note(bad: Quarantined) -> None:
            failures.append(
                {"part": part, "sample": bad.name, "reason": str(bad.reason), "detail": bad.detail}
            )

        for record in self._dataset.samples([part], on_bad=note):
            if record.role not in self._config.roles:
                continue
            try:
                picture = read_picture(record.key, record.image, self._config.regions)
            except BadImage as error:
                failures.append(
                    {"part": part, "sample": record.key, "reason": str(error.reason), "detail": error.detail}
                )
                continue
            yield _Prepared(picture.key, picture.boxes, self._engine.prepare(picture))

    def _captions(self, picture: _Prepared, descriptions: list[Description]) -> list[Caption]:
        return captions_of(
            picture.key,
            picture.boxes,
            descriptions,
            model=self._engine.model,
            prompt=self._engine.prompt,
            count=self._count,
            short_tokens=self._config.short_tokens,
        )

    def _commit(self, part: str, captions: list[Caption], failures: list[dict[str, str]]) -> None:
        path = failures_path(self._config.folder, part)
        if failures:
            lines = (json.dumps(failure, sort_keys=True, ensure_ascii=False) for failure in failures)
            self._dataset.store.write(path, "".join(f"{line}\n" for line in lines).encode())
        else:
            self._dataset.store.delete(path)
        write_captions(self._dataset.store, self._config.folder, part, captions)


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Yields `items` unchanged and in order while a thread makes up to `depth` of the next ones."""
    end = object()
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, source, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, source, end))
            yield item  # type: ignore[misc]  # `end` never leaves the loop
