"""`scripts/fault_pairs.py`: pairs of every fault, the same each time, from photos that are large enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

SCRIPT = Path(__file__).parents[2] / "scripts/fault_pairs.py"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(data.astronaut()[:60]).save(folder / "too_flat.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_every_fault_is_a_pair_of_folders_and_the_same_each_time(photos, tmp_path):
    for out in ("one", "two"):
        subprocess.run([sys.executable, SCRIPT, photos, tmp_path / out, "--side", "96"], check=True)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    faults = {path.parts[0] for path in files}
    assert len(files) == 2 * len(faults)
    assert {path.name for path in files} == {"astronaut.png"}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    photo = np.asarray(Image.open(tmp_path / "one/clean/hq/astronaut.png"), float)
    assert np.array_equal(photo, data.astronaut()[208:304, 208:304])
    distances = {
        fault: np.abs(np.asarray(Image.open(tmp_path / "one" / fault / "lq/astronaut.png")) - photo).mean()
        for fault in faults
    }
    assert distances.pop("clean") == 0
    assert min(distances.values()) > 1
