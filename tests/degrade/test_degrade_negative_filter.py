from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from supir_degrade.cli import app
from supir_degrade.negatives import NegativesConfig, Request, judge, make_request
from supir_degrade.quality import sharpness
from supir_degrade.sources import Source
from supir_shards import Dataset, index_path, shard_path, verify

SETTINGS = ["preset=tiny", "size_px=128", "steps=4", "batch_size=2", "words={oil painting: 1}"]


pytestmark = pytest.mark.usefixtures("connected_ray")


def _run(photos: Path, out: Path, *settings: str, workers: int = 1) -> dict:
    overrides = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    line = ["negatives", str(photos), "-o", str(out), "--count", "5", "--workers", str(workers), "--json"]
    result = CliRunner().invoke(app, [*line, *overrides])
    failures = out / "report/failures.jsonl"
    assert result.exit_code == 0, failures.read_text() if failures.exists() else result.output
    return json.loads(result.stdout)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _dropped(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "report/dropped.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unfiltered(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unfiltered") / "out"
    summary = _run(photos, out, "filter=false")
    assert (summary["samples"], summary["clean"], summary["dropped"]) == (5, 0, None)
    assert not (out / "report").exists()
    return out


@pytest.fixture(scope="module")
def losses(unfiltered: Path) -> dict[str, float]:
    """By source key: how far each sample's score is below its source's."""
    return {
        record.origin.parent_key: record.scores["source_quality"] - record.scores["quality"]
        for record in Dataset(unfiltered).samples()
    }


@pytest.fixture(scope="module")
def margin(losses: dict[str, float]) -> float:
    """A margin with two samples on its clean side and three on the other."""
    _, second, third, *_ = sorted(losses.values())
    assert third - second > 0.01
    return (second + third) / 2


@pytest.fixture(scope="module")
def clean(losses: dict[str, float], margin: float) -> set[str]:
    """Source keys that the filter drops."""
    return {key for key, loss in losses.items() if loss <= margin}


@pytest.fixture(scope="module")
def filtered(photos: Path, clean: set[str], margin: float, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("filtered") / "out"
    summary = _run(photos, out, f"filter_margin={margin}")
    counts = {"samples": 5 - len(clean), "made": 5, "clean": len(clean), "failed": 0}
    assert {key: summary[key] for key in counts} == counts
    assert summary["dropped"] == f"{out}/report/dropped.jsonl"
    return out


def test_each_negative_keeps_the_scores_of_its_picture_and_of_its_source(
    unfiltered: Path, photos: Path
) -> None:
    config = NegativesConfig(size_px=128)
    sources = {record.key: record for record in Dataset(photos).samples()}
    for record in Dataset(unfiltered).samples():
        picture = np.asarray(Image.open(io.BytesIO(record.image)))
        key = record.origin.parent_key
        original = np.asarray(Image.open(io.BytesIO(sources[key].image)))
        square = make_request(original, Source("", 0, key), config).image
        assert json.loads(record.trace)["score"] == "sharpness"
        assert record.scores["quality"] == pytest.approx(sharpness(picture), abs=1e-5)
        assert record.scores["source_quality"] == pytest.approx(sharpness(square), abs=0.05)


def test_the_clean_ones_are_left_out_and_listed_with_both_scores(
    filtered: Path, unfiltered: Path, clean: set[str]
) -> None:
    before = {record.origin.parent_key: record for record in Dataset(unfiltered).samples()}
    after = {record.origin.parent_key: record for record in Dataset(filtered).samples()}
    assert after.keys() == before.keys() - clean
    assert all(record.image == before[key].image for key, record in after.items())
    listed = {line["sample"]: line for line in _dropped(filtered)}
    assert listed.keys() == clean
    for key, line in listed.items():
        assert line["reason"] == "clean"
        for name in ("quality", "source_quality"):
            assert line[name] == before[key].scores[name]
    assert verify(filtered) == []


def test_the_ledger_holds_every_photo_with_its_scores(
    filtered: Path, losses: dict[str, float], clean: set[str]
) -> None:
    store = Dataset(filtered).store
    rows = [row for n in range(2) for row in store.read_table(f"ledger/part-00000{n}.parquet").to_pylist()]
    assert {row["key"]: row["score.source_quality"] - row["score.quality"] for row in rows} == losses
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["key"] for row in rows if row["reason"] == "clean"} == clean
    assert {row["reason"] for row in rows} == {"", "clean"}
    assert all("is not below the source's" in row["detail"] for row in rows if row["reason"])


def test_a_killed_filtered_job_ends_with_the_same_bytes(
    filtered: Path, photos: Path, clean: set[str], margin: float, tmp_path: Path
) -> None:
    out = tmp_path / "n"
    shutil.copytree(filtered, out)
    (out / index_path("part-000000")).unlink()
    (out / shard_path("part-000000")).write_bytes(b"half a tar")
    (out / "dataset.json").unlink()
    (out / "report/dropped.jsonl").unlink()
    summary = _run(photos, out, f"filter_margin={margin}", workers=2)
    assert (summary["made"], summary["clean"], summary["samples"]) == (3, len(clean), 5 - len(clean))
    assert _files(out) == _files(filtered)


def test_a_filter_that_drops_everything_leaves_an_empty_sound_dataset(photos: Path, tmp_path: Path) -> None:
    summary = _run(photos, tmp_path / "n", "filter_margin=1000")
    assert (summary["samples"], summary["clean"]) == (0, 5)
    assert list(Dataset(tmp_path / "n").samples()) == []
    assert verify(tmp_path / "n") == []


@pytest.mark.parametrize(
    ("quality", "settings", "reason"),
    [
        (4.9, {}, ""),
        (5.0, {}, "clean"),
        (5.1, {}, "clean"),
        (4.9, {"filter_margin": 0.2}, "clean"),
        (4.7, {"filter_margin": 0.2}, ""),
        (9.0, {"filter": False}, ""),
    ],
)
def test_a_sample_is_clean_if_its_score_is_not_lower_than_its_sources(
    quality: float, settings: dict, reason: str
) -> None:
    source, made = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    request = Request(source=Source("p", 0, "k"), image=source, prompt="", seed=0)
    outcome = judge(request, made, lambda image: quality if image.any() else 5.0, NegativesConfig(**settings))
    assert outcome.reason == reason
    assert outcome.scores == {"quality": quality, "source_quality": 5.0}
