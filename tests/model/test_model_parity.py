"""Every stored number of an independent run (see conftest.py), through benchmarks/parity.py, and the script itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import parity
import pytest


@pytest.mark.parametrize("pattern", parity.CASES)
def test_every_stored_quantity_is_met_within_its_tolerance(pattern, parity_folder):
    names = parity.found(parity_folder)[pattern]
    if not names:
        pytest.skip(f"{parity_folder} holds no {pattern}")
    runs = [parity.run(parity_folder, pattern, name) for name in names]
    assert all(rows for rows, _ in runs)
    assert [row for rows, _ in runs for row in rows if row.verdict != "ok"] == []
    assert [left for _, not_compared in runs for left in not_compared] == []


def run_script(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["parity.py", str(folder)])
    return parity.main()


def test_the_script_ends_with_1_when_one_stored_number_is_another(
    parity_folder, tmp_path, monkeypatch, capsys
):
    for suffix in (".json", ".npz"):
        shutil.copy(parity_folder / f"sampler{suffix}", tmp_path)
    assert run_script(monkeypatch, tmp_path) == 0
    arrays = dict(np.load(tmp_path / "sampler.npz"))
    altered = next(key for key in arrays if key.endswith(".x"))
    arrays[altered][1, 0, 0, 0, 0] += 0.02
    (tmp_path / "sampler.npz").unlink()  # the copy is as read-only as its source
    np.savez(tmp_path / "sampler.npz", **arrays)
    capsys.readouterr()
    assert run_script(monkeypatch, tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    misses = [line for line in lines if line.endswith("MISS")]
    assert misses[0].startswith(f"sampler {altered.removesuffix('.x')} ")
    assert len(misses) == 2  # the row and the count
    assert lines[-1].endswith("1 MISS")


def test_a_fixture_that_cannot_be_run_is_a_miss_and_the_others_still_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "sampler.json").write_text('{"settings": [{"id": "N", "sampler": "heun"}]}')
    (tmp_path / "vae.json").write_text("{}")
    assert run_script(monkeypatch, tmp_path) == 1
    assert "cannot run: KeyError: 'heun'" in (out := capsys.readouterr().out)
    assert "2 quantities: 0 ok, 0 over, 2 MISS" in out


def test_what_is_not_compared_is_a_miss(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "colorfix.npz", content=np.zeros((1, 3, 8, 8), np.float32))
    np.savez(tmp_path / "edm_more.npz", x=np.zeros(1))
    (tmp_path / "tokens.json").write_text("{}")
    assert run_script(monkeypatch, tmp_path) == 1
    out = capsys.readouterr().out
    assert "cannot run: KeyError: 'style'" in out
    assert "not run: edm_more, tokens" in out
    assert "2 MISS" in out.splitlines()[-1]


def test_one_broken_setting_does_not_hide_the_others(parity_folder, tmp_path, monkeypatch, capsys):
    shutil.copy(parity_folder / "sampler.json", tmp_path)
    arrays = dict(np.load(parity_folder / "sampler.npz"))
    gone = next(key for key in arrays if key.endswith(".P"))
    np.savez(tmp_path / "sampler.npz", **{key: value for key, value in arrays.items() if key != gone})
    assert run_script(monkeypatch, tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "cannot run" in line]) == 1
    assert len([line for line in lines if line.endswith("  ok")]) > 50


@pytest.mark.parametrize(
    ("below", "text"),
    [(".", "holds no fixture; give a folder with files such as schedule*"), ("none", "is no folder")],
)
def test_the_script_ends_with_2_and_one_line_where_there_is_nothing_to_run(
    below, text, tmp_path, monkeypatch, capsys
):
    assert run_script(monkeypatch, tmp_path / below) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
