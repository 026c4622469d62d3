"""metrics.jsonl, bad_samples.jsonl and config.yaml of a run that is killed while it writes them."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from supir_train.batch import BadSample
from supir_train.metrics import BadSamples, StepLog
from supir_train.run import prepare, train
from supir_train.world import World


def line(step: int, phase: str = "adapter") -> dict[str, object]:
    return {"step": step, "phase": phase}


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "torn", [b'{"step": 3, "pha', b"12", b'{"step": 3, "phase": "\xc3', b"\x00\x00\x00\x00"]
)
def test_what_a_kill_cut_short_goes_and_the_next_line_is_whole(torn, tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = StepLog(path, step=0, phase=None)
    for step in (1, 2, 3):
        log.write(line(step))
    with path.open("ab") as file:
        file.write(torn)
    StepLog(path, step=2, phase="adapter").write(line(3))
    assert lines_of(path) == [line(1), line(2), line(3)]


def listed(path: Path, samples: list[BadSample]) -> int:
    """Lists samples as a start of the run does; returns how many were listed before."""
    bad = BadSamples(path, World())
    before = len(bad)
    bad.add(samples)
    bad.write()
    return before


def test_a_bad_sample_whose_line_was_cut_short_is_listed_again(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    samples = [BadSample(key=key, part="part-000000", reason="small") for key in "ab"]
    assert listed(path, samples) == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert listed(path, samples) == 1
    assert [entry["key"] for entry in lines_of(path)] == ["a", "b"]


def test_samples_that_are_left_out_are_told_once(tmp_path, caplog):
    path = tmp_path / "bad_samples.jsonl"
    samples = [BadSample(key=key, part="part-000000", reason="small") for key in "ab"]
    listed(path, samples)
    listed(path, samples)
    told = f"2 samples give no crop and are left out, a (small) among them; {path} lists them"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_each_line_is_one_write(tmp_path, monkeypatch):
    log, written, write = StepLog(tmp_path / "log.jsonl", step=0, phase=None), [], os.write
    monkeypatch.setattr(os, "write", lambda file, data: written.append(bytes(data)) or write(file, data))
    log.write(line(1) | {"trace": "x" * 100_000})
    assert [data[-1:] for data in written] == [b"\n"]
    assert lines_of(tmp_path / "log.jsonl")[0]["trace"] == "x" * 100_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
def test_a_line_that_finds_no_room_names_its_file(tmp_path):
    path = tmp_path / "log.jsonl"
    log = StepLog(path, step=0, phase=None)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=re.escape(f"[Errno 28] No space left on device: '{path}'")):
        log.write(line(1))


def test_a_config_that_cannot_be_written_leaves_the_one_before(configure, tmp_path, monkeypatch):
    train(prepare(configure("adapter", tmp_path / "run", optimize__steps=1)))
    before = (tmp_path / "run/config.yaml").read_bytes()
    run = prepare(configure("adapter", tmp_path / "run", optimize__steps=2))

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train(run)
    assert (tmp_path / "run/config.yaml").read_bytes() == before
    monkeypatch.undo()
    assert train(run).steps == 2


def test_a_start_that_was_killed_while_it_wrote_the_config_is_begun_again(configure, tmp_path):
    (tmp_path / "run/.config.yaml.tmp").mkdir(parents=True)
    (tmp_path / "run/.config.yaml.tmp/0a1b2c3d").write_text("stage: ad")
    (tmp_path / "run/.lock").touch()
    assert train(prepare(configure("adapter", tmp_path / "run", optimize__steps=1))).steps == 1
    assert not list((tmp_path / "run").glob(".config*"))
