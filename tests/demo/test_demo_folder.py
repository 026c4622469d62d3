"""What the demo refuses before it deletes or computes anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

RUN = Path(__file__).resolve().parents[2] / "demo" / "run.py"
# Prepares the folder as the script does and stops before the long part.
PREPARE = f"""
import sys; sys.path.insert(0, {str(RUN.parent)!r}); sys.argv[0] = "run.py"
import run
class Stop:
    def __init__(self, work, *, is_package_photos): raise SystemExit(0)
run.Demo = Stop
run.main()
"""


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", PREPARE, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "mine" / "photos"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("out", ["photos", "photos/out", "."])
def test_a_folder_that_overlaps_the_photos_is_refused_and_no_photo_is_lost(photos, out):
    mine = photos.parent
    (mine / ".supir-demo").touch()  # not even a marker opens the photos
    (photos / ".supir-demo").touch()
    ended = demo("--photos", photos, "-o", mine / out)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "overlap, and the demo empties its folder; give -o a folder of its own" in ended.stderr
    assert len(list(photos.glob("*.jpg"))) == 5


def test_a_folder_that_no_demo_made_is_refused_untouched(photos, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "only-copy.txt").write_text("years")
    ended = demo("--photos", photos, "-o", tmp_path / "thesis")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "thesis exists and no demo made it (there is no .supir-demo in it)" in ended.stderr
    assert (tmp_path / "thesis" / "only-copy.txt").read_text() == "years"
    ended = demo("--photos", photos, "-o", photos / "0.jpg" / "below")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_the_folder_of_an_earlier_demo_is_emptied(photos, tmp_path):
    out = tmp_path / "new"
    assert demo("--photos", photos, "-o", out).returncode == 0
    (out / "runs").mkdir()
    (out / "index.html").write_text("old")
    (out / "link").symlink_to(photos)
    assert demo("--photos", photos, "-o", out).returncode == 0
    assert [path.name for path in out.iterdir()] == [".supir-demo"]
    assert len(list(photos.glob("*.jpg"))) == 5


def test_too_few_photos_is_one_line(tmp_path):
    (tmp_path / "none").mkdir()
    ended = demo("--photos", tmp_path / "none", "-o", tmp_path / "new")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "the demo needs at least 4" in ended.stderr
    assert not (tmp_path / "new").exists()
