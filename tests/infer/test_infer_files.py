"""Folders as people have them: names in any bytes, links, captions from any editor, results that exist, torn lists."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from supir_console import UserError
from supir_infer import batching, listing, outcomes
from supir_infer.captions import caption_source
from supir_infer.cli import main
from supir_infer.eval_cli import main as evaluate
from supir_infer.images import read_picture
from supir_infer.listing import MET_BEFORE, NO_FILE, UNREADABLE, list_pictures
from supir_infer.transparency import fill_hidden

QUICK = ("--model", "tiny", "--min-size", 64, "--strength", 0)


def json_pairs(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    path = folder / "captions.json"
    path.write_text("{" + ", ".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in pairs) + "}")
    return path


def parquet_pairs(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    names, texts = zip(*pairs, strict=True)
    pq.write_table(pa.table({"file": names, "text": texts}), folder / "captions.parquet")
    return folder / "captions.parquet"


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_names_in_any_bytes_are_restored_and_measured(command, photos, tmp_path, face):
    data = io.BytesIO()
    Image.fromarray(face).save(data, "PNG")
    name = b"b_caf\xe9\n\x1b[2J.png"
    with open(os.fsencode(photos) + b"/" + name, "wb") as stream:
        stream.write(data.getvalue())
    out = tmp_path / "out"
    assert command(main, photos, "-o", out, *QUICK).code == 0
    assert name in os.listdir(os.fsencode(out))
    assert os.fsencode(Path(records(out)[0]["input"]).name) == name
    again = command(main, photos, "-o", out, *QUICK, "--json")
    assert (again.code, json.loads(again.out)["skipped"]) == (0, 3)
    (photos / os.fsdecode(name)).write_bytes(b"no picture")
    (line,) = command(main, photos, "-o", tmp_path / "two", *QUICK).err.splitlines()[:1]
    assert r"b_caf\udce9\n\x1b[2J.png: no kind of picture" in line
    (photos / os.fsdecode(name)).write_bytes(data.getvalue())
    for table in ("rows.csv", "rows.parquet"):
        measured = command(
            *(evaluate, out, "--reference", photos, "--metrics", "psnr", "--json"),
            *("--per-image", tmp_path / table),
        )
        assert (measured.code, json.loads(measured.out)["num_images"]) == (0, 3)
        assert (tmp_path / table).stat().st_size > 0


def test_linked_folders_are_followed_once_and_hidden_ones_are_not(tmp_path, monkeypatch):
    inside, store = tmp_path / "in", tmp_path / "store"
    for path in (
        inside / "a" / "1.png",
        inside / ".thumbnails" / "t.png",
        store / "2.png",
        tmp_path / "h" / "3.png",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (inside / "2023").symlink_to("../store")
    (inside / "again").symlink_to("../store")
    (inside / "up").symlink_to("..")
    (inside / ".cache").symlink_to("../h")
    os.mkfifo(inside / "pipe.png")
    pictures, left_out = list_pictures(inside)
    found = [path.relative_to(inside).as_posix() for path in pictures]
    assert found == ["2023/2.png", "a/1.png", "up/h/3.png"]
    assert left_out == {MET_BEFORE: 3, ".cache": 1, ".thumbnails": 1, NO_FILE: 1}
    walk = os.walk

    def refused(*arguments: object, onerror: object, **options: object) -> object:
        onerror(OSError(13, "Permission denied"))
        return walk(*arguments, onerror=onerror, **options)

    monkeypatch.setattr(listing.os, "walk", refused)
    assert list_pictures(inside).left_out[UNREADABLE] == 1


CAFE = "café"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_caption_of_any_editor_is_its_text(tmp_path, encoding):
    (tmp_path / "a.txt").write_text(f"{CAFE}\r\n", encoding=encoding)
    assert caption_source(None, None, tmp_path)(tmp_path / "a.png", str) == CAFE
    (tmp_path / "c.json").write_text(json.dumps({"b.png": CAFE}, ensure_ascii=False), encoding=encoding)
    assert caption_source(None, tmp_path / "c.json", tmp_path)(tmp_path / "b.png", str) == CAFE


def test_entries_are_found_by_their_path_below_the_input_and_ghosts_are_told(command, photos, tmp_path):
    shutil.copy(photos / "face.png", photos / "trip" / "face.png")
    (photos / "trip" / "cafe\u0301.txt").write_text("decomposed")
    shutil.copy(photos / "face.png", photos / "trip" / "cafe\u0301.png")
    entries = {"./trip\\face.png": "inner", "face.png": "outer", "trip/caf\u00e9": "e", "ghost.jpg": "none"}
    (tmp_path / "c.json").write_text(json.dumps(entries))
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--captions", tmp_path / "c.json", "--json")
    captions = {
        Path(record["input"]).relative_to(photos).as_posix(): record["caption"]
        for record in records(tmp_path / "out")
    }
    assert captions == {
        "face.png": "outer",
        "trip/cat.jpg": "",
        "trip/face.png": "inner",
        "trip/cafe\u0301.png": "e",
    }
    summary = json.loads(ended.out)
    assert summary["captions"] == "3 of 4 entries with a picture; none has ghost.jpg"
    assert summary["left_out"] == {".txt": 1}


def test_texts_that_are_captions_are_not_counted_as_left_out(command, photos, tmp_path):
    (photos / "face.txt").write_text("an astronaut")
    (photos / "notes.txt").write_text("no caption")
    for dry_run in (["--dry-run"], []):
        ended = command(main, photos, "-o", tmp_path / "out", *QUICK, *dry_run, "--json")
        assert json.loads(ended.out)["left_out"] == {".txt": 1}


BYTES = os.fsdecode(b"caf\xe9")
"""As a command line that is no UTF-8 reaches Python."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--caption", BYTES), "--caption holds half a letter (U+DCE9 at 3)"),
        (("--set", f"negative_prompt={BYTES}"), "the value is not readable YAML"),
        (("--set", r'positive_suffix="\ud800"'), "config key 'positive_suffix': it holds half a letter"),
        (("--tile-captions", "tiles.json"), "tiles.json must hold"),
    ],
)
def test_a_text_that_is_none_is_said_before_any_picture(
    command, photos, tmp_path, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    Path("tiles.json").write_text(r'{"face.png": [{"box": [0, 0, 9, 9], "text": "\ud83d"}]}')
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert words in ended.err
    assert not (tmp_path / "out").exists()


def test_half_a_letter_in_a_caption_costs_its_picture_alone(command, photos, tmp_path):
    (tmp_path / "c.json").write_text('{"face.png": "a \\ud83d smile", "cat.jpg": "a cat"}')
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--captions", tmp_path / "c.json")
    assert ended.code == 1
    assert "the caption of face.png holds half a letter (U+D83D at 2)" in ended.err
    assert [record["status"] for record in records(tmp_path / "out")] == ["failed", "ok"]


@pytest.mark.parametrize(
    "torn", [b'{"status": "ok", "inp', b"\0" * 40, b"caf\xc3", b"[1, 2]\nnull\n7", b'{"a": "\xff"}\n']
)
def test_a_torn_list_of_results_mends_itself(command, photos, tmp_path, torn):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    first, second = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(torn + b"\n" + first + torn)
    ended = command(main, photos, "-o", out, *QUICK)
    assert ended.code == 0
    assert " torn lines taken out; what is done stands in the outputs" in ended.err
    assert [record["output"] for record in records(out)] == [
        json.loads(line)["output"] for line in (first, second)
    ]
    assert command(main, photos, "-o", out, *QUICK).err.startswith("restored: 0")


def test_one_result_that_was_made_otherwise_does_not_block_a_folder_and_redo_makes_it_anew(
    command, photos, tmp_path
):
    out = tmp_path / "out"
    command(main, photos / "face.png", "-o", out, *QUICK, "--seed", 5)
    old = (out / "face.png").read_bytes()
    ended = command(main, photos, "-o", out, *QUICK, "--json")
    assert (ended.code, json.loads(ended.out)["restored"], json.loads(ended.out)["failed"]) == (1, 1, 1)
    assert (
        "was made with seed=5, now 0; finished work is not overwritten: use --redo to make it anew"
        in ended.err
    )
    assert (out / "face.png").read_bytes() == old
    redone = command(main, photos, "-o", out, *QUICK, "--redo", "--json")
    assert (redone.code, json.loads(redone.out)["restored"]) == (0, 2)
    assert (out / "face.png").read_bytes() != old
    shutil.copy(photos / "face.png", out / "face.png")
    foreign = command(main, photos, "-o", out, *QUICK, "--redo")
    assert foreign.code == 1
    assert (
        "was not made by supir-infer, or is damaged; finished work is not overwritten: remove it"
        in foreign.err
    )


def test_the_last_line_of_a_picture_is_that_of_its_result(command, photos, tmp_path):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    (out / "face.png").rename(tmp_path / "face.png")
    other = command(main, photos, "-o", out, *QUICK, "--seed", 1)  # the other picture is refused
    assert other.code == 1
    (tmp_path / "face.png").rename(out / "face.png")
    assert command(main, photos, "-o", out, *QUICK).code == 0
    last = {record["input"]: record for record in records(out)}
    assert [(record["status"], record.get("seed")) for record in last.values()] == [("ok", 0), ("ok", 0)]
    assert len(records(out)) == 6
    assert command(main, photos, "-o", out, *QUICK).code == 0
    assert len(records(out)) == 6


@pytest.mark.parametrize("write", [json_pairs, parquet_pairs])
@pytest.mark.parametrize("second", ["trip/cat.jpg", "./trip\\cat.jpg"])
def test_two_captions_of_one_picture_are_refused_unless_they_are_equal(tmp_path, write, second):
    path = write(tmp_path, [("trip/cat.jpg", "a cat"), (second, "a dog")])
    with pytest.raises(
        UserError, match=r"has two entries for 'trip/cat.jpg'.* that differ; make one of them"
    ):
        caption_source(None, path, tmp_path)
    path = write(tmp_path, [("trip/cat.jpg", "a cat"), (second, "a cat")])
    assert caption_source(None, path, tmp_path)(tmp_path / "trip" / "cat.jpg", "") == "a cat"


def test_no_input_is_overwritten_whatever_the_command_is_asked(command, photos, tmp_path):
    photo = (photos / "face.png").read_bytes()
    (photos / "alias").symlink_to(photos)
    behind_a_new_one = photos / "new" / ".." / "face.png"
    for target in (photos / "face.png", photos / "alias" / "face.png", behind_a_new_one):
        ended = command(main, photos / "face.png", "-o", target, *QUICK, "--redo")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "is a picture of the input itself, which is never overwritten" in ended.err
    Image.new("RGB", (64, 64)).save(photos / "cat.png")  # where the result of trip/cat.jpg would go
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "trip").symlink_to(photos)
    assert command(main, photos, "-o", tmp_path / "all", *QUICK, "--redo").code == 1
    assert (photos / "face.png").read_bytes() == photo
    with Image.open(photos / "cat.png") as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize("stage", ["size_in", "picture_in"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("no room"), "out of memory, "),
        (ValueError("odd"), "ValueError: "),
        (KeyError("tag"), "KeyError: "),
        (RecursionError("deep"), "RecursionError: "),
    ],
)
def test_any_error_of_one_picture_is_a_row_and_the_run_goes_on(
    command, photos, tmp_path, monkeypatch, stage, error, reason
):
    work = getattr(batching, stage)

    def broken(data: bytes, name: str, *sha256: str) -> object:
        if name == "face.png":
            raise error
        return work(data, name, *sha256)

    monkeypatch.setattr(batching, stage, broken)
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK)
    assert ended.code == 1
    assert f"failed: {photos / 'face.png'}: {reason}" in ended.err
    assert Counter(record["status"] for record in records(tmp_path / "out")) == {"failed": 1, "ok": 1}


def test_a_result_that_no_encoder_takes_is_a_row(command, photos, tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ValueError("encoder says no")

    monkeypatch.setattr(outcomes, "write_picture", broken)
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK)
    assert ended.code == 1
    assert ended.err.count("cannot be written: ValueError: encoder says no") == 2


def test_results_of_other_kinds_are_made_skipped_and_refused_where_they_lose_something(
    command, photos, tmp_path, face
):
    alpha = np.full(face.shape[:2], 255, np.uint8)
    Image.fromarray(np.dstack([face, alpha])).save(photos / "opaque.png")
    alpha[:9] = 0
    Image.fromarray(np.dstack([face, alpha])).save(photos / "clear.png")
    out = tmp_path / "out"
    ended = command(main, photos, "-o", out, *QUICK, "--format", "jpg", "--quality", 80)
    assert ended.code == 1
    assert (
        "clear.png: it is partly transparent, which JPEG cannot hold; use --format png, tiff or webp"
        in ended.err
    )
    assert sorted(path.name for path in out.rglob("*.jpg")) == ["cat.jpg", "face.jpg", "opaque.jpg"]
    again = command(main, photos, "-o", out, *QUICK, "--format", "jpg", "--quality", 80, "--json")
    assert json.loads(again.out)["skipped"] == 3
    changed = command(main, photos / "face.png", "-o", out / "face.jpg", *QUICK, "--quality", 70)
    assert "was made with output_quality=80, now 70" in changed.err


def test_transparent_pixels_leave_no_ring_at_any_size(command, tmp_path):
    rows, columns = np.mgrid[:64, :64]
    disc = np.clip(20.5 - np.hypot(rows - 31.5, columns - 31.5), 0, 1)
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 3] = np.round(disc * 255)
    pixels[pixels[..., 3] > 0, :3] = 255
    Image.fromarray(pixels).save(tmp_path / "disc.png")
    command(main, tmp_path / "disc.png", "-o", tmp_path / "out", "--upscale", 4, "--set", "tile_px=256")
    result = np.asarray(Image.open(tmp_path / "out" / "disc.png")).astype(float)
    alpha = result[..., 3:] / 255
    assert (result[..., :3] * alpha + 255 * (1 - alpha)).min() >= 253
    assert alpha.min() == 0
    assert alpha.max() == 1


def test_hidden_colours_come_from_around_and_visible_ones_stay():
    rgb = np.zeros((6, 9, 3), np.float32)
    rgb[2, 3] = (0.2, 0.4, 0.6)
    alpha = np.zeros((6, 9), np.float32)
    alpha[2, 3] = 0.5
    assert np.allclose(fill_hidden(rgb, alpha), (0.2, 0.4, 0.6), atol=1e-6)
    assert fill_hidden(rgb, np.zeros_like(alpha)) is rgb
    assert fill_hidden(rgb, np.ones_like(alpha)) is rgb
    alpha[:, 5:] = 1
    rgb[:, 5:] = 0.9
    filled = fill_hidden(rgb, alpha)
    assert np.array_equal(filled[alpha > 0], rgb[alpha > 0])


def test_the_gamma_that_a_png_states_is_that_of_its_result(command, tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (100_000).to_bytes(4, "big"))  # light itself
    Image.new("RGB", (64, 64), (60, 60, 60)).save(tmp_path / "a.png", pnginfo=chunks)
    command(main, tmp_path / "a.png", "-o", tmp_path / "out", *QUICK)
    assert Image.open(tmp_path / "out" / "a.png").getpixel((9, 9)) == (133, 133, 133)
    assert read_picture(tmp_path / "out" / "a.png").rgb[9, 9, 0] == pytest.approx(133 / 255)
