from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from supir_console import UserError
from supir_degrade import degrade, load_recipe, sample_generator
from supir_degrade.cli import app
from supir_degrade.preview import GAP_PX, contact_sheet, draw_rows, label
from supir_shards import Dataset, shard_path


def test_sheet_holds_each_original_and_each_draw_pixel_for_pixel(astronaut: np.ndarray) -> None:
    crops = [astronaut[:96, :96], astronaut[200:296, 200:296]]
    recipe = load_recipe("realesrgan")
    sheet = np.asarray(contact_sheet(draw_rows(crops, recipe, [0.5, 1.0], seed=3)))
    row_height = (sheet.shape[0] - GAP_PX) // 2
    for number, crop in enumerate(crops):
        top = GAP_PX + number * row_height
        lq, _ = degrade(crop, recipe, sample_generator(3, f"preview-{number}", 0))
        for column, expected in ((0, crop), (2, lq)):
            left = GAP_PX + column * (96 + GAP_PX)
            np.testing.assert_array_equal(sheet[top : top + 96, left : left + 96], expected)
    # Ink of the labels stands below each tile.
    assert (sheet[GAP_PX + 96 : row_height] < 100).any()


def test_label_tells_the_operations_in_their_order(astronaut: np.ndarray) -> None:
    recipe = load_recipe("light", ["clean_share=0", "scale={4: 1}"])
    _, trace = degrade(astronaut[:64, :64], recipe, sample_generator(0, "k", 1))
    words = label(trace).split(", ")
    assert len(words) == len(trace.ops)
    assert words[-1] == "64x64 bicubic"
    assert f"jpeg {next(op.quality for op in trace.ops if op.op == 'jpeg')} 4:2:0" in words


def test_preview_command_writes_a_sheet_from_a_dataset(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    arguments = ["preview", str(photos), "-o", str(out), "--draws", "2", "--crop", "64", "--strength", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with Image.open(out) as sheet:
        assert sheet.width == 2 * (64 + GAP_PX) + GAP_PX


def test_command_line_answers_a_wrong_path_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from supir_degrade.cli import main; main()"]
    done = subprocess.run(
        [*command, "preview", str(tmp_path / "none.jpg"), "-o", str(tmp_path / "s.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/none.jpg does not exist; give an image file or a dataset\n"


def test_importing_the_command_loads_no_heavy_library() -> None:
    check = "import sys, supir_degrade.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "ray", "cv2", "scipy", "PIL"}


def test_the_printed_recipe_is_read_back(tmp_path: Path) -> None:
    arguments = ["preview", "--recipe", "web2026", "--set", "clean_share=0.25", "--print-config"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (tmp_path / "r.yaml").write_text(result.stdout)
    assert load_recipe(tmp_path / "r.yaml") == load_recipe("web2026", ["clean_share=0.25"])


def test_a_damaged_image_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    result = CliRunner().invoke(app, ["preview", str(tmp_path / "half.jpg"), "-o", str(tmp_path / "s.png")])
    assert isinstance(result.exception, UserError)
    assert re.search(r"half\.jpg: .*cut off at 4 bytes; give a sound JPEG", str(result.exception))


@pytest.mark.parametrize(
    ("name", "kind"), [("s.png", "PNG"), ("s.JPG", "JPEG"), ("s.jpeg", "JPEG"), ("s.webp", "WEBP")]
)
def test_the_sheet_is_of_the_kind_that_its_name_promises(
    name: str, kind: str, photos: Path, tmp_path: Path
) -> None:
    arguments = ["preview", str(photos), "--draws", "1", "--crop", "32", "--strength", "1"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == kind
    refused = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "s.tif")])
    assert isinstance(refused.exception, UserError)
    assert "s.tif' does not end with one of .png, .jpg, .jpeg, .webp" in str(refused.exception)


def _damage(folder: Path, part: str, row: int) -> str:
    found = Dataset(folder).index(part).to_pylist()[row]
    with (folder / shard_path(part)).open("r+b") as file:
        file.seek(found["offset"] + 500)
        file.write(bytes(50))
    return str(found["key"])


def test_an_altered_photo_is_listed_and_the_others_are_shown(photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    key = _damage(folder, "part-000000", 1)
    out = tmp_path / "s.png"
    arguments = ["preview", str(folder), "-o", str(out), "--draws", "5", "--crop", "128", "--strength", "1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 1, done.output
    (listed,) = json.loads(done.stdout)["unreadable"]
    assert listed.startswith(f"part-000000/{key}: ")
    with Image.open(out) as sheet:
        assert 4 * 128 < sheet.height < 5 * (128 + 6 * 16 + GAP_PX)
    whole = CliRunner().invoke(app, [*arguments[:1], str(photos), *arguments[2:], "--json"])
    with Image.open(out) as sheet:
        assert (whole.exit_code, json.loads(whole.stdout)["unreadable"]) == (0, [])
        assert sheet.height > json.loads(done.stdout)["size_px"][1]


def test_no_command_writes_over_or_into_its_input(
    photos: Path, astronaut: np.ndarray, tmp_path: Path
) -> None:
    photo = tmp_path / "x.png"
    Image.fromarray(astronaut).save(photo)
    before = photo.read_bytes()
    commands = [
        (["preview", str(photo), "-o", str(photo), "--draws", "1"], "is the input itself"),
        (["preview", str(photos), "-o", f"{photos}/sheet.png", "--draws", "1"], "lies inside the input"),
        (["pairs", str(photos), "-o", str(photos)], "is the input itself"),
        (["pairs", str(photos), "-o", f"{photos}/val"], "lies inside the input"),
        (["negatives", str(photos), "-o", f"{photos}/neg"], "lies inside the input"),
    ]
    names = sorted(path.name for path in photos.rglob("*"))
    for arguments, words in commands:
        ended = CliRunner().invoke(app, arguments)
        assert isinstance(ended.exception, UserError), arguments
        assert words in str(ended.exception)
    assert photo.read_bytes() == before
    assert sorted(path.name for path in photos.rglob("*")) == names
