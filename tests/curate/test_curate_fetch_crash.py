"""A retry and an extension stopped before any write: the same command again ends with the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import load_config
from supir_curate import pipeline
from supir_curate.config import CurateConfig
from supir_curate.fetching.fetch import Fetcher
from supir_curate.reruns import Wishes, scored
from supir_curate.selection.select import select
from supir_shards import Store, verify


class Stopped(BaseException):
    """Stands for the kill: nothing may catch it."""


class Here:
    """Fetches and works on parts one after the other, where the commands have a cluster."""

    def run(self, work, parts, fetching=None):
        for part in parts:
            if fetching:
                asyncio.run(self._fetch(fetching, part))
            yield work(part)

    async def _fetch(self, fetching, part):
        fetcher: Fetcher = fetching._fetcher(1, 0)
        try:
            await fetcher.fetch_part(fetching._dataset, part)
        finally:
            await fetcher.close()

    def spread(self, list_files, files):
        return list_files(files)


class Countdown:
    """Lets a number of writes and deletions pass, then raises before the next."""

    def __init__(self, monkeypatch, left):
        self.left = left
        for name in ("writing", "write_many", "delete"):
            monkeypatch.setattr(Store, name, self.counted(getattr(Store, name)))

    def counted(self, operation):
        def counting(store, *arguments):
            self.left -= 1
            if self.left < 0:
                raise Stopped
            return operation(store, *arguments)

        return counting


def finish(store, source, config, wishes, *, packs):
    plan, figures = scored(store, str(source), config, Here(), wishes, allow_private=True)
    if packs:
        select(store, plan, config.select)
        pipeline.pack(store, plan, config, Here())
        pipeline.drop_spool(store, plan)
    return figures


@pytest.fixture
def flaky(web_server, page, collection, settings, tmp_path):
    """A list of six URLs of which four answer 503 at first, and its config."""
    state = {"busy": True}
    files = sorted(collection.rglob("*-*.jpg"))[4:10]

    def answer(number, body):
        is_busy = number % 3 != 0
        return lambda handler: page(503 if is_busy and state["busy"] else 200, body)(handler)

    server = web_server({f"/{n}.jpg": answer(n, path.read_bytes()) for n, path in enumerate(files)})
    table = pa.table({"url": [server.url(f"/{number}.jpg") for number in range(6)]})
    pq.write_table(table, tmp_path / "urls.parquet")
    words = [*settings[1::2], "source.part_size=2", "fetch.pace.retries=0"]
    return tmp_path / "urls.parquet", load_config(CurateConfig, None, words), state


@pytest.mark.parametrize("packs", [True, False])
def test_a_retry_may_stop_before_any_write(flaky, tmp_path, content, packs):
    source, config, state = flaky
    first, whole = tmp_path / "first", tmp_path / "whole"
    finish(Store(first), source, config, Wishes(), packs=packs)
    state["busy"] = False
    shutil.copytree(first, whole)
    assert finish(Store(whole), source, config, Wishes(retry_failed=True), packs=packs)["succeeded"] == 4
    num_stops = stop_everywhere(
        first, whole, tmp_path, content, source, config, Wishes(retry_failed=True), packs
    )
    assert num_stops >= 25
    if packs:
        assert verify(Store(whole)) == []


def test_an_extension_may_stop_before_any_write(flaky, tmp_path, content):
    source, config, state = flaky
    state["busy"] = False
    first, whole = tmp_path / "first", tmp_path / "whole"
    rows = pq.read_table(source)
    pq.write_table(rows.slice(0, 3), source)
    finish(Store(first), source, config, Wishes(), packs=True)
    pq.write_table(rows, source)
    shutil.copytree(first, whole)
    assert finish(Store(whole), source, config, Wishes(extend=True), packs=True)["taken_in"] == 3
    assert stop_everywhere(first, whole, tmp_path, content, source, config, Wishes(extend=True), True) >= 15


def stop_everywhere(first, whole, tmp_path, content, source, config, wishes, packs):
    """Stops the command before every fifth write, runs it again and compares; returns how many writes there were."""
    expected, dataset = content(whole), tmp_path / "stopped"
    for number in range(0, 1000, 5):
        shutil.rmtree(dataset, ignore_errors=True)
        shutil.copytree(first, dataset)
        with pytest.MonkeyPatch.context() as patch:
            countdown = Countdown(patch, number)
            with contextlib.suppress(Stopped):
                finish(Store(dataset), source, config, wishes, packs=packs)
            if countdown.left >= 0:
                return number
        finish(Store(dataset), source, config, wishes, packs=packs)
        assert content(dataset) == expected, number
    raise AssertionError("it never ends")
