"""One bad thing among many: it is recorded with its reason, the rest is restored, the exit code is 1."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from supir_infer import folder, images, saving, whole_file
from supir_infer.cli import main
from supir_infer.matching import match_samples
from supir_infer.saving import read_metadata

QUICK = ("--model", "tiny", "--min-size", 64, "--strength", 1)


def reasons(out: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {Path(line["input"]).name: line.get("reason", "ok") for line in lines}


def test_folders_named_like_pictures_are_no_pictures_and_dead_links_are_failures(command, photos, tmp_path):
    (photos / "sub.png").mkdir()
    os.mkfifo(photos / "pipe.png")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK)
    assert ended.code == 1
    assert reasons(tmp_path / "out") == {
        "face.png": "ok",
        "cat.jpg": "ok",
        "gone.jpg": "gone.jpg: cannot be read: No such file or directory",
        "loop.jpg": "loop.jpg: cannot be read: Too many levels of symbolic links",
    }
    planned = command(main, photos, "-o", tmp_path / "two", *QUICK, "--dry-run")
    assert f"{photos / 'gone.jpg'}: cannot be read" in planned.err
    assert f"failed: {photos / 'gone.jpg'}: cannot be read: No such file" in ended.err
    names = [sample.name for sample in match_samples(photos, tmp_path / "out", None).samples]
    assert names == ["face", "trip/cat"]


def test_pictures_deleted_during_the_run_or_changed_after_they_were_looked_up_are_failures(
    command, photos, tmp_path, monkeypatch
):
    shutil.copy(photos / "face.png", photos / "z.png")
    restore = folder.restore_jobs

    def disturbed(*arguments: object) -> object:
        (photos / "trip" / "cat.jpg").unlink(missing_ok=True)
        shutil.copy(photos / "face.png", photos / "z.png")
        with (photos / "z.png").open("ab") as stream:
            stream.write(b"more")
        return restore(*arguments)

    monkeypatch.setattr(folder, "restore_jobs", disturbed)
    assert command(main, photos, "-o", tmp_path / "out", *QUICK).code == 1
    assert reasons(tmp_path / "out") == {
        "face.png": "ok",
        "cat.jpg": "cat.jpg: cannot be read: No such file or directory",
        "z.png": "ok",
    }
    metadata = read_metadata(tmp_path / "out" / "z.png")
    assert metadata["input_sha256"] == hashlib.sha256((photos / "z.png").read_bytes()).hexdigest()
    shutil.copy(photos / "face.png", photos / "z.png")
    key = hashlib.sha256((photos / "z.png").read_bytes()).hexdigest()[:32]
    (tmp_path / "captions.json").write_text(json.dumps({key: "found by what the file held"}))
    captions = ("--captions", tmp_path / "captions.json")
    assert command(main, photos, "-o", tmp_path / "captioned", *QUICK, *captions).code == 1
    found = reasons(tmp_path / "captioned")
    assert found == {
        "face.png": "ok",
        "z.png": "z.png: changed while the run went on; repeat the command",
    }


def test_a_file_name_as_long_as_the_file_system_takes_is_restored(command, photos, tmp_path):
    name = "n" * (255 - len(".png")) + ".png"
    shutil.copy(photos / "face.png", photos / name)
    assert command(main, photos, "-o", tmp_path / "out", *QUICK).code == 0
    assert (tmp_path / "out" / name).is_file()


def test_an_output_that_cannot_be_written_is_a_failure_and_a_full_disk_ends_the_run(
    command, photos, tmp_path, monkeypatch
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "trip").write_text("a file where a folder is needed")
    assert command(main, photos, "-o", tmp_path / "out", *QUICK).code == 1
    found = reasons(tmp_path / "out")
    assert found["face.png"] == "ok"
    assert found["cat.jpg"].endswith("trip/cat.png cannot be written: File exists")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    ended = command(main, photos, "-o", tmp_path / "full", *QUICK)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "face.png cannot be written: No space left on device; free some space and repeat" in ended.err


def test_a_caption_beside_the_picture_that_is_no_text_fails_that_picture_alone(command, photos, tmp_path):
    (photos / "face.txt").write_bytes("ein Gefäß".encode("latin-1"))
    assert command(main, photos, "-o", tmp_path / "out", *QUICK).code == 1
    found = reasons(tmp_path / "out")
    assert found["cat.jpg"] == "ok"
    assert "face.txt is not UTF-8 text (invalid continuation byte at byte 7)" in found["face.png"]
    (photos / "face.txt").write_text("ein Gefäß", encoding="utf-8")
    assert command(main, photos, "-o", tmp_path / "out", *QUICK).code == 0


def test_a_captions_file_that_is_damaged_is_one_line_and_an_empty_row_no_caption(command, photos, tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not at all")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--captions", tmp_path / "c.parquet")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "c.parquet is no Parquet that can be read" in ended.err
    table = pa.table({"file": ["face.png", "cat.jpg"], "text": [None, "a cat"]})
    pq.write_table(table, tmp_path / "c.parquet")
    command(main, photos, "-o", tmp_path / "out", *QUICK, "--captions", tmp_path / "c.parquet")
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["caption"] for line in lines] == ["", "a cat"]


def test_results_into_the_input_folder_are_refused_and_beside_it_are_not(command, photos, tmp_path):
    ended = command(main, photos, "-o", photos / "trip" / "..", *QUICK)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "is the input folder itself; results need another one, for example -o" in ended.err
    assert command(main, photos / "trip", "-o", photos, *QUICK).code == 0
    with Image.open(photos / "cat.png") as image:
        assert "supir" in image.text


@pytest.mark.parametrize("metadata", [["a"], {"input_sha256": "0"}, {"settings": 1}])
def test_an_output_with_strange_metadata_is_refused_in_one_line(command, photos, tmp_path, metadata):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    record = saving.read_metadata(out / "face.png")
    changed = record | metadata if isinstance(metadata, dict) else metadata
    pixels = images.to_bytes(images.read_picture(out / "face.png").rgb)
    saving.write_picture(out / "face.png", pixels, None, changed)
    ended = command(main, photos, "-o", out, *QUICK)
    assert ended.code == 1
    assert ended.err.count("face.png exists and") == 1
