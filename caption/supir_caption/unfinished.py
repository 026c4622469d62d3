"""What a part has come to before it is whole: finished pictures, and which were in work when a worker died.

Place in the flow: the worker stores here after every batch and reads it when it begins a part; committing a
part clears it. All files lie below `report/captions/NAME/unfinished/HASH/PART/`, HASH being the config's, so
that what another config left is never taken for one's own.

    000000.jsonl   finished pictures, one JSON object a line: captions, tokens, or why there are none
    at-work.json   {key: deaths}: pictures in a worker's hands, and how many workers died with it in their hands
    alone.json     {key: deaths}: the same for pictures that were taken alone

The law: a crash costs the pictures in work and no others; no picture is stored twice, however many workers were
at the part; a picture whose turn ends the worker when it is all alone is not tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from supir_caption.picture import NO_TOKENS, Tokens
from supir_shards import Caption, Store

DEATHS_TOGETHER = 2
"""Workers that may die with a picture among others in their hands before it is taken alone."""

DEATHS_ALONE = 1
"""And with it alone, before it is given up."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture's end: its captions, or a failure as it is listed."""

    key: str
    captions: tuple[Caption, ...] = ()
    tokens: Tokens = NO_TOKENS
    failure: dict[str, str] | None = None


@dataclass(slots=True)
class Unfinished:
    """The files of one part.

    Args:
        store: of the dataset.
        folder: of the part's files, see `places.unfinished_folder`.
    """

    store: Store
    folder: str
    _chunks: int = 0
    _at_work: dict[str, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def begin(self) -> tuple[list[Finished], list[str], list[str]]:
        """Returns the finished pictures, the keys to be taken alone, and those to be given up.

        A worker that finds pictures in work here is the next after one that died: their deaths are counted.
        """
        paths = [path for path in self.store.list(self.folder) if path.endswith(".jsonl")]
        self._chunks = len(paths)
        by_key: dict[str, Finished] = {}
        for path in sorted(paths):
            for one in _read_lines(self.store.read(path)):
                by_key.setdefault(one.key, one)
        self._at_work = {
            key: deaths + 1 for key, deaths in self._read("at-work.json").items() if key not in by_key
        }
        alone = {key: deaths for key, deaths in self._read("alone.json").items() if key not in by_key}
        given_up = [key for key, deaths in alone.items() if deaths >= DEATHS_ALONE]
        suspects = [
            key for key, deaths in self._at_work.items() if deaths >= DEATHS_TOGETHER and key not in given_up
        ]
        self._write("at-work.json", self._at_work)
        return list(by_key.values()), suspects, given_up

    def taken(self, keys: Iterable[str]) -> None:
        """Notes, before it happens, that pictures come into the worker's hands."""
        with self._lock:
            self._at_work |= {key: self._at_work.get(key, 0) for key in keys}
            self._write("at-work.json", self._at_work)

    def taken_alone(self, key: str) -> None:
        """Notes that a picture is taken with no other: what happens now is its doing."""
        self._write("alone.json", self._read("alone.json") | {key: 1})

    def survived(self, key: str) -> None:
        """A picture that was taken alone has done no harm."""
        self._write("alone.json", {other: n for other, n in self._read("alone.json").items() if other != key})

    def add(self, finished: Iterable[Finished]) -> None:
        """Stores finished pictures."""
        finished = list(finished)
        if not finished:
            return
        lines = "".join(map(_line, finished))
        self.store.write(f"{self.folder}/{self._chunks:06d}.jsonl", lines.encode())
        self._chunks += 1
        with self._lock:
            for one in finished:
                self._at_work.pop(one.key, None)

    def clear(self) -> None:
        """Removes all files of the part."""
        for path in self.store.list(self.folder):
            self.store.delete(path)

    def state(self) -> tuple[int, str]:
        """Returns what changes when a try of the part has brought anything: pictures stored, or one found guilty."""
        paths = [path for path in self.store.list(self.folder) if path.endswith(".jsonl")]
        stored = sum(self.store.size(path) for path in paths)
        return stored, json.dumps(self._read("alone.json"), sort_keys=True)

    def _read(self, name: str) -> dict[str, int]:
        path = f"{self.folder}/{name}"
        if not self.store.exists(path):
            return {}
        try:
            values = json.loads(self.store.read(path))
        except ValueError:
            return {}
        return {str(key): int(deaths) for key, deaths in values.items()} if isinstance(values, dict) else {}

    def _write(self, name: str, values: dict[str, int]) -> None:
        self.store.write(f"{self.folder}/{name}", json.dumps(values, sort_keys=True).encode())


def _line(one: Finished) -> str:
    return json.dumps(asdict(one), sort_keys=True, ensure_ascii=False) + "\n"


def _read_lines(data: bytes) -> Iterator[Finished]:
    """The pictures of a stored batch; a line that is none counts as absent, and its picture is captioned again."""
    for line in data.splitlines():
        try:
            yield _finished(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue


def _finished(values: dict[str, Any]) -> Finished:
    captions = tuple(Caption(**one | {"box": tuple(one["box"])}) for one in values["captions"])
    return Finished(values["key"], captions, Tokens(**values["tokens"]), values["failure"])
