from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from supir_degrade import Trace, replay
from supir_degrade.cli import app
from supir_shards import Dataset, index_path, shard_path, verify


def _run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["pairs", *map(str, arguments)])


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "out"
    result = _run(photos, "-o", out, "--count", 5, "--crop", 128, "--set", "clean_share=0", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pairs"] == 5
    return out


def test_lq_is_the_replay_of_its_trace_on_the_hq_of_the_same_key(made: Path) -> None:
    hq = {record.key: record for record in Dataset(made / "hq").samples()}
    lq = {record.key: record for record in Dataset(made / "lq").samples()}
    assert len(hq) == 5
    assert hq.keys() == lq.keys()
    for key, record in lq.items():
        clean, degraded = _pixels(hq[key].image), _pixels(record.image)
        assert clean.shape == (128, 128, 3)
        trace = Trace.from_json(json.dumps(record.metadata["trace"]))
        np.testing.assert_array_equal(replay(clean, trace), degraded)
        assert (clean != degraded).any()


def test_hq_is_the_crop_of_the_photo_that_its_metadata_names(made: Path, photos: Path) -> None:
    originals = {record.key: _pixels(record.image) for record in Dataset(photos).samples()}
    for record in Dataset(made / "hq").samples():
        x0, y0, x1, y1 = record.metadata["crop"]
        np.testing.assert_array_equal(_pixels(record.image), originals[record.key][y0:y1, x0:x1])


def test_negatives_and_small_photos_are_not_chosen(made: Path, photos: Path) -> None:
    rows = [row for part in Dataset(photos).parts() for row in Dataset(photos).index(part).to_pylist()]
    allowed = {r["key"] for r in rows if r["role"] == "photo" and min(r["width"], r["height"]) >= 128}
    assert {record.key for record in Dataset(made / "hq").samples()} == allowed


def test_a_second_run_elsewhere_gives_the_same_bytes(made: Path, photos: Path, tmp_path: Path) -> None:
    _run(photos, "-o", tmp_path / "b", "--count", 5, "--crop", 128, "--set", "clean_share=0")
    assert _files(tmp_path / "b") == _files(made)
    assert verify(made / "hq") == []
    assert verify(made / "lq") == []


def test_a_part_without_its_lq_index_is_made_again(made: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "c")
    (tmp_path / "c/lq" / index_path("part-000001")).unlink()
    (tmp_path / "c/hq" / shard_path("part-000001")).write_bytes(b"half")
    kept = (tmp_path / "c/lq" / shard_path("part-000000")).stat().st_mtime_ns
    result = _run(photos, "-o", tmp_path / "c", "--count", 5, "--crop", 128, "--set", "clean_share=0")
    assert result.exit_code == 0
    assert _files(tmp_path / "c") == _files(made)
    assert (tmp_path / "c/lq" / shard_path("part-000000")).stat().st_mtime_ns == kept


def test_other_options_are_refused_in_the_same_folder(made: Path, photos: Path) -> None:
    result = _run(photos, "-o", made, "--count", 4, "--crop", 128, "--set", "clean_share=0")
    assert "holds the work of another config or of other photos" in str(result.exception)


def test_both_tars_unpack_into_folders_of_equal_names(made: Path) -> None:
    names = []
    for side in ("hq", "lq"):
        with tarfile.open(made / side / shard_path("part-000000")) as tar:
            names.append([name for name in tar.getnames() if name.endswith(".png")])
    assert names[0] == names[1]
    assert len(names[0]) == 3


def test_an_altered_photo_is_recorded_and_the_rest_is_made(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    dataset = Dataset(tmp_path / "photos")
    row = dataset.index("part-000000").to_pylist()[1]
    with (tmp_path / "photos" / shard_path("part-000000")).open("r+b") as file:
        file.seek(row["offset"] + 500)
        file.write(bytes(50))
    result = _run(tmp_path / "photos", "-o", tmp_path / "out", "--count", 5, "--crop", 128, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 1
    ledger = Dataset(tmp_path / "out/hq").store.read_table("ledger/part-000000.parquet").to_pylist()
    failed = [entry for entry in ledger if entry["status"] == "failed"]
    assert [(entry["key"], entry["reason"]) for entry in failed] == [(row["key"], "unreadable")]
    assert "was altered" in failed[0]["detail"]


def test_too_few_photos_are_told_with_both_numbers(photos: Path, tmp_path: Path) -> None:
    result = _run(photos, "-o", tmp_path / "x", "--count", 6, "--crop", 128)
    assert "has 5 photos of 128 px or more on the shorter side, 6 were asked for" in str(result.exception)
