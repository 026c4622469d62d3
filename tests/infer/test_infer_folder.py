from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from supir_infer.cli import main
from supir_infer.earlier_results import EARLIER_RESULT
from supir_infer.eval_cli import main as evaluate
from supir_infer.images import picture_size
from supir_infer.saving import SUFFIX_OF, read_metadata

FROM_NOISE = ("--set", "start_sigma=0.5", "--strength", 1)
QUICK = ("--model", "tiny", "--steps", 2, "--min-size", 64, "--set", "working_scale=1", *FROM_NOISE)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_a_folder_with_a_corrupt_file_is_restored_but_for_that_file(command, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"not much of a picture")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--json")
    assert ended.code == 1
    assert json.loads(ended.out) | {"results": 0} == {"restored": 2, "skipped": 0, "failed": 1, "results": 0}
    assert set(bytes_of(tmp_path / "out")) == {"face.png", "trip/cat.png"}
    failed, face, _ = lines(tmp_path / "out")
    assert (failed["status"], Path(failed["input"]).name) == ("failed", "broken.jpg")
    assert "broken.jpg: no kind of picture that is known" in failed["reason"]
    assert face["status"] == "ok"


@pytest.fixture
def opened(photos: Path) -> Iterator[Counter[str]]:
    """How often each photo is opened, by its name."""
    counts, counting = Counter[str](), [True]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if counting and event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = Path(arguments[0])
            counts.update([path.name] if path.is_relative_to(photos) else [])

    sys.addaudithook(count)  # it stays until Python ends
    yield counts
    counting.clear()


def test_each_picture_is_read_once_by_a_run_and_once_by_the_next(command, photos, tmp_path, opened):
    once = {"face.png": 1, "cat.jpg": 1}
    words = [photos, "-o", tmp_path / "out", *QUICK]
    for told in ("restored: 2", "skipped: 2"):
        opened.clear()
        assert told in command(main, *words).err
        assert opened == once
    opened.clear()
    (tmp_path / "captions.json").write_text(json.dumps({"0" * 32: "by its key"}))
    words[2] = tmp_path / "captioned"
    assert command(main, *words, "--captions", tmp_path / "captions.json").code == 0
    assert opened == dict.fromkeys(once, 2)


def test_every_output_says_what_it_was_made_from(command, photos, tmp_path):
    assert command(main, photos / "face.png", "-o", tmp_path / "one.png", *QUICK, "--seed", 4).code == 0
    record = read_metadata(tmp_path / "one.png")
    assert record is not None
    assert (record["seed"], record["model"], record["settings"]["steps"]) == (4, "tiny", 2)
    assert record["size"] == {"input": [97, 100], "working": [96, 96], "output": [97, 100]}
    assert record["prompt"].startswith("Cinematic")
    assert set(record["seconds"]) == {"encode", "sample", "decode"}
    assert len(record["input_sha256"]) == len(record["model_sha256"]) == 64
    assert picture_size(tmp_path / "one.png") == (97, 100)
    (line,) = lines(tmp_path)
    assert line["settings_hash"] == record["settings_hash"]


def test_a_rerun_skips_what_is_finished_and_restores_what_was_mended(command, photos, tmp_path, face):
    (photos / "later.png").write_bytes(b"")
    out = tmp_path / "out"
    assert command(main, photos, "-o", out, *QUICK).code == 1
    before = bytes_of(out)
    Image.fromarray(face).save(photos / "later.png")
    ended = command(main, photos, "-o", out, *QUICK, "--json")
    assert (ended.code, json.loads(ended.out)["skipped"], json.loads(ended.out)["restored"]) == (0, 2, 1)
    after = bytes_of(out)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"later.png"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--steps", 3), "was made with steps=2, now 3"),
        (("--seed", 9), "was made with seed=0, now 9"),
        (("--caption", "a cat"), "was made with caption='', now 'a cat'"),
    ],
)
def test_finished_work_made_otherwise_is_refused_and_untouched(command, photos, tmp_path, change, words):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    before = bytes_of(out)
    ended = command(main, photos, "-o", out, *QUICK, *change)
    assert ended.code == 2
    assert f"error: {out}/face.png exists and {words} (2 such files)" in ended.err
    assert "use --redo to make it anew, or choose another folder with -o" in ended.err
    assert bytes_of(out) == before


def test_memory_knobs_and_batches_do_not_make_finished_work_stale(command, photos, tmp_path):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    again = command(main, photos, "-o", out, *QUICK, "--set", "tile_batch=4", "--batch-size", 2, "--json")
    assert json.loads(again.out)["skipped"] == 2


def test_another_picture_model_or_program_behind_the_same_name_is_refused(
    command, photos, tmp_path, face, model_folder
):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    other_model = command(main, photos, "-o", out, *QUICK, "--model", model_folder)
    assert "was made with another model (tiny, now acting)" in other_model.err
    assert other_model.code == 2
    Image.fromarray(face[::-1]).save(photos / "face.png")
    changed = command(main, photos, "-o", out, *QUICK)
    assert changed.code == 1
    assert (
        f"failed: {photos / 'face.png'}: {out / 'face.png'} exists and was made from another pict"
        in changed.err
    )
    Image.fromarray(face).save(out / "face.png")
    assert "was not made by supir-infer, or is damaged" in command(main, photos, "-o", out, *QUICK).err


def test_a_line_lost_or_torn_by_a_kill_is_written_again(command, photos, tmp_path):
    out = tmp_path / "out"
    command(main, photos, "-o", out, *QUICK)
    first, second = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").write_text(first + "\n" + second[:100])
    assert command(main, photos, "-o", out, *QUICK).code == 0
    texts = (out / "results.jsonl").read_text().splitlines()
    assert texts[0] == first
    assert json.loads(texts[1])["output"] == json.loads(second)["output"]
    assert len(texts) == 2


def test_pictures_restored_in_batches_are_those_restored_one_by_one(command, tmp_path, face):
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(np.roll(face, 9 * index, axis=1)).save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "1b.png").write_bytes(b"bad")
    Image.fromarray(face[:64]).save(tmp_path / "in" / "0b.png")
    assert command(main, tmp_path / "in", "-o", tmp_path / "one", *QUICK).code == 1
    assert command(main, tmp_path / "in", "-o", tmp_path / "two", *QUICK, "--batch-size", 2).code == 1
    for name in ("0", "0b", "1", "2"):
        one, two = (
            np.asarray(Image.open(tmp_path / run / f"{name}.png")).astype(int) for run in ("one", "two")
        )
        assert np.abs(one - two).max() <= 1


def test_alpha_is_kept_at_the_output_size(command, tmp_path, face):
    alpha = np.zeros(face.shape[:2], dtype=np.uint8)
    alpha[:50] = 255
    Image.fromarray(np.dstack([face, alpha])).save(tmp_path / "a.png")
    command(main, tmp_path / "a.png", "-o", tmp_path / "out", *QUICK, "--upscale", 2)
    restored = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert restored.shape == (200, 194, 4)
    assert (restored[:90, :, 3] == 255).all()
    assert (restored[110:, :, 3] == 0).all()


def test_captions_come_from_option_mapping_parquet_or_text_file(command, photos, tmp_path):
    (photos / "face.txt").write_text("an astronaut\n")
    (tmp_path / "c.json").write_text(json.dumps({"cat.jpg": "a cat"}))

    def captions(run: str, *options: object) -> list[str]:
        command(main, photos, "-o", tmp_path / run, *QUICK, *options)
        return [line["caption"] for line in lines(tmp_path / run)]

    assert captions("json", "--captions", tmp_path / "c.json") == ["an astronaut", "a cat"]
    key = lines(tmp_path / "json")[1]["input_sha256"][:32]
    row = {"key": key, "region": 0, "text": "a tabby", "short_text": "tabby"}
    rows = [row, row | {"region": 1, "text": "an ear"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    assert captions("parquet", "--captions", tmp_path / "c.parquet") == ["an astronaut", "a tabby"]
    short = ("--captions", tmp_path / "c.parquet", "--caption-text", "short_text")
    assert captions("short", *short) == ["an astronaut", "tabby"]
    assert captions("option", "--caption", "a photo") == ["a photo", "a photo"]


def test_a_dry_run_prints_plan_and_cost_and_writes_nothing(command, photos, tmp_path):
    ended = command(
        main, photos, "-o", tmp_path / "out", *QUICK, "--tile", 64, "--tile-stride", 32, "--dry-run"
    )
    assert ended.code == 0
    assert "face.png: 97x100 -> 96x96 working, 4 tiles -> 97x100" in ended.err
    assert "network_steps: 12" in ended.err
    assert float(ended.err.split("seconds: ")[1].split()[0]) > 0
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_which_picture_is_stretched_out_of_proportion(command, photos, tmp_path):
    Image.new("RGB", (3, 2000)).save(photos / "thread.png")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--dry-run")
    (line,) = (line for line in ended.err.splitlines() if "warning" in line and line.startswith(str(photos)))
    assert "thread.png: 3x2000 -> 64x42656 working, 166 tiles -> 3x2000; warning: its short side is" in line
    assert "455 times the output's pixels (2.7 MP): crop the picture or lower --min-size" in line
    assert f"stretched: ['{photos / 'thread.png'}']" in ended.err


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("side", [64, 1536])
def test_the_memory_of_a_dry_run_is_that_of_the_run(tmp_path, side):
    Image.effect_noise((side, side), 60).convert("RGB").save(tmp_path / "a.png")
    line = [str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--model", "tiny", "--steps", "1"]
    line += ["--set", "min_size_px=64", "--tile-stride", "512", "--json"]
    code = f"""
import io, json, re, sys
from contextlib import redirect_stdout
from pathlib import Path
from supir_infer.cli import main
def run(*options):
    sys.argv = ["supir-infer", *{line!r}, *options]
    with redirect_stdout(io.StringIO()) as out:
        try: main()
        except SystemExit as end: assert not end.code
    return json.loads(out.getvalue())
planned = run("--dry-run")["memory_gib"]
Path("/proc/self/clear_refs").write_text("5")
assert run()["restored"] == 1
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
print(planned / peak)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 / 1.5 < float(ended.stdout) < 1.5


def test_a_result_carries_what_the_photo_says_about_itself(command, tmp_path, face):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "K10D", 3
    Image.fromarray(face).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    assert command(main, tmp_path / "a.jpg", "-o", tmp_path / "out", *QUICK).code == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert dict(image.getexif()) == {0x0110: "K10D"}
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_results_inside_the_input_folder_are_not_restored_again(command, photos):
    command(main, photos, "-o", photos / "restored", *QUICK)
    again = command(main, photos, "-o", photos / "trip" / ".." / "restored", *QUICK, "--json")
    assert {key: json.loads(again.out)[key] for key in ("restored", "skipped")} == {
        "restored": 0,
        "skipped": 2,
    }


@pytest.mark.parametrize("kind", ["png", "tiff", "jpg", "webp"])
def test_results_of_an_earlier_run_are_left_out_and_counted(command, photos, tmp_path, kind):
    command(main, photos, "-o", photos / "first", *QUICK, "--format", kind)
    command(main, photos / "face.png", "-o", photos / f"face-restored{SUFFIX_OF[kind]}", *QUICK)
    shutil.copy(photos / "face.png", photos / "first" / "a photo.png")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--json")
    summary = json.loads(ended.out)
    assert set(bytes_of(tmp_path / "out")) == {"face.png", "trip/cat.png", "first/a photo.png"}
    assert (summary["restored"], summary["left_out"]) == (3, {EARLIER_RESULT: 3, ".jsonl": 2})


def test_results_that_are_named_are_restored(command, photos, tmp_path):
    command(main, photos, "-o", tmp_path / "first", *QUICK)
    for named in (tmp_path / "first", tmp_path / "first" / "face.png"):
        ended = command(main, named, "-o", tmp_path / named.stem / "again", *QUICK, "--json")
        assert EARLIER_RESULT not in json.loads(ended.out).get("left_out", {})
    assert set(bytes_of(tmp_path / "first" / "again")) == {"face.png", "trip/cat.png"}
    assert set(bytes_of(tmp_path / "face" / "again")) == {"face.png"}


def test_two_pictures_of_one_name_keep_their_suffixes_and_find_their_references(command, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index, name in enumerate(("A.JPG", "A.png", "B.JPG")):
        Image.fromarray(data.chelsea()[50:114, 100:164] // (index + 1)).save(folder / name)
    ended = command(main, folder, "-o", out, *QUICK, "--set", "upscale=1", "--json")
    assert (ended.code, json.loads(ended.out)["restored"]) == (0, 3)
    assert sorted(path.name for path in out.glob("*.png")) == ["A.JPG.png", "A.png.png", "B.png"]
    again = command(main, folder, "-o", out, *QUICK, "--set", "upscale=1", "--json")
    assert json.loads(again.out)["skipped"] == 3
    measured = command(evaluate, out, "--reference", folder, "--metrics", "psnr", "--json")
    assert (measured.code, json.loads(measured.out)["num_images"]) == (0, 3)
    single = command(main, folder / "B.JPG", "-o", tmp_path / "One.PNG", *QUICK)
    assert (single.code, (tmp_path / "One.PNG").exists()) == (0, True)


def test_a_result_is_not_lost_where_a_package_runs_without_being_installed(
    command, photos, tmp_path, monkeypatch
):
    known = metadata.version

    def version(name: str) -> str:
        if name in ("supir-stack", "diffusers"):
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    assert command(main, photos / "face.png", "-o", tmp_path / "out", *QUICK).code == 0
    written = read_metadata(tmp_path / "out/face.png")["versions"]
    assert written == {"supir-stack": "0+source", "torch": known("torch"), "diffusers": "0+source"}


def test_wrong_input_is_one_line_that_says_how_to_mend_it(command, photos, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text("[1]")
    cases = [
        (
            (tmp_path / "none.png", "-o", out),
            "none.png does not exist; give a picture or a folder of pictures",
        ),
        ((tmp_path / "empty", "-o", out), "holds no picture (.jpg .jpeg"),
        ((photos, "-o", "out.png"), "-o out.png names a picture, but"),
        (
            (photos / "face.png", "-o", "out.gif"),
            "-o out.gif: results are png files; give a name ending in .png",
        ),
        (
            (photos / "face.png", "-o", out / "out.jpg", "--bits", 16),
            "output_bits=16: jpg holds 8; use output_format png or tiff",
        ),
        (
            (photos / "face.png", "-o", out / "out.jpg", "--format", "png"),
            "-o out.jpg: results are png files; give a name ending in .png",
        ),
        (
            (photos / "face.png", "-o", out, "--strength", "some"),
            "config key 'strength': Input should be 'auto' or a valid number (got 'some')",
        ),
        (
            (photos / "face.png", "-o", photos / "face.png"),
            "face.png is a picture of the input itself, which",
        ),
        (
            (photos / "face.png", "-o", photos / "face.png" / "x"),
            "face.png/x cannot be written to: it is no folder",
        ),
        (
            (photos / "trip", "-o", out, "--model", "nothing"),
            "--model nothing is neither a preset (mini, tiny)",
        ),
        (
            (photos / "trip", "-o", out, "--preset", "best"),
            "--preset best is unknown; use one of mini, paper",
        ),
        (
            (photos / "trip", "-o", out, "--tile", 100),
            "config key 'tile_px': Input should be a multiple of 32",
        ),
        ((photos / "trip", "-o", out, "--set", "step=4"), "unknown config key 'step'; did you mean 'steps'?"),
        ((photos / "trip", "-o", out, "--captions", tmp_path / "list.json"), "must hold one JSON object"),
        (
            (photos / "trip", "-o", out, "--model", "tiny", "--device", "tpu"),
            "--device tpu is unknown; use auto",
        ),
        (
            (photos / "trip", "-o", out, "--model", "tiny", "--dtype", "int8"),
            "--dtype int8 is unknown; use auto",
        ),
    ]
    for arguments, words in cases:
        ended = command(main, *arguments)
        assert ended.code == 2, arguments
        assert ended.err.startswith("error: "), ended.err
        assert words in ended.err
        assert ended.err.count("\n") == 1
    assert not out.exists()


def test_the_command_line_answers_help_without_torch_in_little_more_than_its_libraries_take():
    def run(code: str) -> tuple[str, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return ended.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    code = "import sys; sys.argv = ['x', '--help']\nfrom supir_infer.{0} import main\ntry: main()\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    _, libraries_s = run("import numpy, pydantic, typer, yaml")
    for module in ("cli", "eval_cli", "web_cli"):
        shown, seconds = run(code.format(module))
        assert "--help" in shown
        assert seconds < 4 * libraries_s  # torch alone takes ten times as long as they


def test_the_resolved_config_can_be_read_back(command, photos, tmp_path):
    printed = command(
        main, photos, "-o", tmp_path, "--preset", "quality", "--upscale", 2, "--print-config"
    ).out
    assert "# Text guidance (CFG) at the end; 1 = none." in printed
    (tmp_path / "q.yaml").write_text(printed)
    again = command(main, photos, "-o", tmp_path, "--config", tmp_path / "q.yaml", "--print-config").out
    assert again == printed
    assert "upscale: 2.0" in printed
    assert "control_scale: 0.93" in printed
