"""Where original bytes come from: the spool gives back what was fetched, a folder what it can."""

from __future__ import annotations

import asyncio
import os

import fsspec
import pytest

from supir_curate.config import CurateConfig
from supir_curate.sources.folder import Folder
from supir_curate.sources.originals import Evidence, Original, read_originals, write_spool
from supir_curate.sources.plan import Plan, make_plan
from supir_curate.verdict import Reason
from supir_shards import DatasetError, Store

MAX_BYTES = 99


def test_the_spool_gives_back_what_was_fetched(tmp_path):
    evidence = Evidence(final_url="http://a.example/b", http_status=404, redirects="x\ny")
    originals = [
        Original(row=0, url="http://a.example/a", text="ü", licence="CC0", data=b"a" * 50),
        Original(row=1, url="", reason=Reason.BAD_URL, detail="no host"),
        Original(row=2, url="b", reason=Reason.HTTP_ERROR, detail="status 404", evidence=evidence),
        Original(row=3, url="c", data=b"c" * 9),
    ]

    async def stream():
        yield [originals[2], originals[0]]  # what came out of turn is read in turn
        yield [originals[1], originals[3]]

    store = Store(tmp_path)
    asyncio.run(write_spool(store, "part-000000", stream()))
    scoring = CurateConfig().scoring()
    plan = Plan(kind="urls", source="x", scoring=scoring, num_candidates=3, num_parts=1)
    assert list(read_originals(store, plan, "part-000000", lambda _row: True, MAX_BYTES)) == originals
    assert list(read_originals(store, plan, "part-000000", {3}.__contains__, MAX_BYTES)) == originals[3:]


def test_a_name_that_a_remote_store_refuses_is_one_bad_item():
    place = "memory://curate-folder"
    memory = fsspec.filesystem("memory")  # like an object store it takes any name
    memory.pipe({"/curate-folder/good.jpg": b"good", "/curate-folder/a\\b.jpg": b"bad"})
    plan = make_plan(Store("memory://curate-folder-set"), place, CurateConfig())
    read = list(read_originals(Store("memory://curate-folder-set"), plan, "part-000000", lambda _: True, 99))
    assert [(one.url, one.reason, one.data) for one in read] == [
        (r"a\\b.jpg", Reason.UNREADABLE, b""),
        ("good.jpg", None, b"good"),
    ]
    with pytest.raises(DatasetError):
        Folder(place).read(r"a\\b.jpg")


def test_a_pipe_among_the_files_is_not_waited_for(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/good.jpg").write_bytes(b"good")
    os.mkfifo(tmp_path / "source/pipe.jpg")
    store = Store(tmp_path / "set")
    plan = make_plan(store, str(tmp_path / "source"), CurateConfig())
    good, pipe = read_originals(store, plan, "part-000000", lambda _: True, 99)
    assert (good.data, pipe.reason) == (b"good", Reason.UNREADABLE)
    assert "pipe.jpg is not a regular file" in pipe.detail
