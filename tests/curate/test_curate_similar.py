"""Near duplicates by embedding, and pictures of evaluation sets: which are dropped, and what they repeat."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from supir_console import UserError, load_config
from supir_curate.assess_actor import PartAssessor, load_identities, stamp_of
from supir_curate.config import CurateConfig
from supir_curate.config.rules import DEFAULT_RULES
from supir_curate.score import score_part
from supir_curate.selection import similar
from supir_curate.selection.barred import Barred, first_barred
from supir_curate.selection.embeddings import Embeddings
from supir_curate.selection.select import select, selection_path
from supir_curate.selection.similar import near_any, similar_twins
from supir_curate.selection.survivors import Survivors
from supir_curate.sources.plan import Plan, load_plan, make_plan
from supir_curate.verdict import Reason
from supir_shards import Store

Rgb = NDArray[np.uint8]
BASE = (
    "source.part_size=4",
    *(f"select.rules.{name}.limit=null" for name in DEFAULT_RULES),
    "assess.scorers={mobilenet: {}}",
    "assess.only_passing=false",
)
SIMILAR = "select.similar={scorer: mobilenet, min_cosine: 0.86}"


def config(*more: str) -> CurateConfig:
    return load_config(CurateConfig, None, [*BASE, *more])


def unit(rows: NDArray[np.float64]) -> NDArray[np.float16]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def clusters(seed: int, count: int) -> NDArray[np.float16]:
    """Half of the rows are of their own, half lie around them."""
    draw = np.random.default_rng(seed)
    own = draw.normal(size=(count // 2, 48))
    copies = own[draw.integers(0, len(own), count // 2)] + draw.normal(0, 0.45, (count // 2, 48))
    return unit(np.concatenate([own, copies])[draw.permutation(2 * (count // 2))])


def leaders(features: NDArray[np.float16], limit: float) -> list[int]:
    """The law itself, row by row."""
    rows, kept, found = features.astype(np.float32), [], []
    for number, row in enumerate(rows):
        near = np.flatnonzero(rows[kept] @ row >= limit) if kept else []
        found.append(kept[near[0]] if len(near) else -1)
        if not len(near):
            kept.append(number)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_block_size_gives_what_the_law_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = clusters(seed, 400)
    wanted = leaders(features, 0.86)
    assert 50 < sum(twin >= 0 for twin in wanted) < 250
    assert similar_twins(features, 0.86).tolist() == wanted
    monkeypatch.setattr(similar, "FIRST_BLOCK", 16)
    monkeypatch.setattr(similar, "CHUNK_ROWS", 7)
    assert similar_twins(features, 0.86).tolist() == wanted


def test_cells_find_nearly_all_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clusters(9, 4000)
    exact = similar_twins(features, 0.86)
    monkeypatch.setattr(similar, "EXACT_ROWS", 100)
    found = similar_twins(features, 0.86)
    assert 0 < ((found >= 0) != (exact >= 0)).sum() < 0.02 * (exact >= 0).sum()
    pairs = np.flatnonzero(found >= 0)
    cosine = (features[pairs].astype(np.float32) * features[found[pairs]].astype(np.float32)).sum(axis=1)
    assert cosine.min() > 0.8599
    assert (found[found[pairs]] == -1).all()


def test_no_answer_repeats_nothing_and_nothing_at_all_is_no_error() -> None:
    features = np.stack([unit(np.ones((1, 8)))[0], np.full(8, np.nan, np.float16), unit(np.ones((1, 8)))[0]])
    assert similar_twins(features, 0.86).tolist() == [-1, -1, 0]
    assert near_any(features, features[:1], 0.86).tolist() == [0, -1, 0]
    assert similar_twins(np.empty((0, 1), np.float16), 0.86).tolist() == []


def test_the_first_barred_hash_within_the_distance_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supir_curate.selection.barred.CHUNK_PAIRS", 4)
    hashes = np.array([0b1111, 0b0, 0xFF00, 0b1], dtype=np.uint64)
    barred = np.array([0xFF0F, 0b111, 0b1111], dtype=np.uint64)
    assert first_barred(hashes, barred, 1).tolist() == [1, -1, -1, -1]
    assert first_barred(hashes, barred, 4).tolist() == [1, 1, 0, 1]


def test_what_repeats_a_dropped_picture_is_said_to_repeat_what_that_one_repeats(tmp_path: Path) -> None:
    store = Store(tmp_path)
    features = unit(np.array([[1.0, 0, 0], [1.0, 0.1, 0], [0, 0, 1.0]]))
    rows = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 3)
    path = "scores/mobilenet/part-000000.parquet"
    store.write_table(path, pa.table({"source_row": pa.array([0, 1, 2], pa.int64()), "embedding": rows}))
    best, near_best, twin_of_near = "a" * 32, "b" * 32, "c" * 32
    survivors = Survivors()
    ledger = pa.table(
        {
            "source_row": pa.array([0, 1, 2], pa.int64()),
            "key": [best, near_best, twin_of_near],
            "phash": pa.array([0xFFFF, 0, 1], pa.uint64()),
            "score.effective_ratio": [1.0, 1.0, 1.0],
            "score.short_side_px": [900.0, 800.0, 700.0],
            "width": [900, 800, 700],
            "height": [900, 800, 700],
        }
    )
    survivors.add(0, ledger, np.zeros(3, dtype=np.int8))
    embeddings = Embeddings(store, "mobilenet", ["part-000000"])
    found = survivors.excluded(4, embeddings=embeddings, min_cosine=0.9).of_part(0)
    assert found == [(1, Reason.NEAR_DUPLICATE, best), (2, Reason.NEAR_DUPLICATE, best)]
    away = np.array([0xFFFFFFFF00000000], dtype=np.uint64)
    barred = Barred(["set: x.png"], away, unit(np.array([[0.95, 0.35, 0]])))
    found = survivors.excluded(4, barred, embeddings, 0.95).of_part(0)
    assert found == [
        (1, Reason.EVALUATION_DUPLICATE, "set: x.png"),
        (2, Reason.EVALUATION_DUPLICATE, "set: x.png"),
    ]


def dataset(folder: Path, pictures: dict[str, Rgb], place: Path) -> tuple[Store, Plan]:
    """A scored dataset whose pictures MobileNetV2 has looked at."""
    folder.mkdir()
    for name, rgb in pictures.items():
        Image.fromarray(rgb).save(folder / f"{name}.png")
    store, settings = Store(place), config()
    plan = make_plan(store, str(folder), settings)
    stamps = {name: stamp_of(name, settings, one) for name, one in load_identities(settings).items()}
    worker = PartAssessor(store.url, plan, settings, stamps)
    for part in plan.parts():
        score_part(store.url, plan, part, settings)
        list(worker.assess_part(part))
    return store, plan


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Rgb]) -> tuple[Path, Path]:
    """A dataset of five photos, a mirrored and a cropped copy; an evaluation set with a small copy of one of them."""
    root = tmp_path_factory.mktemp("sets")
    coffee, china = photos["coffee"], photos["china"]
    pictures = {name: photos[name] for name in ("astronaut", "chelsea", "rocket", "coffee", "china")}
    pictures["mirrored"] = np.ascontiguousarray(cv2.resize(coffee, (480, 320))[:, ::-1])
    pictures["cropped"] = np.ascontiguousarray(china[20:400, 20:600])
    dataset(root / "photos", pictures, root / "dataset")
    rocket = cv2.resize(photos["rocket"], (300, 200), interpolation=cv2.INTER_AREA)
    others = {"launch": np.ascontiguousarray(rocket[:, ::-1]), "flower": photos["flower"]}
    dataset(root / "evaluation", others, root / "excluded")
    return root / "dataset", root / "excluded"


def decided(place: Path, tmp_path: Path, *more: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """The selection's hash, and reason and detail of each dropped picture, on a copy of the dataset."""
    store = Store(tmp_path / f"copy-{len(list(tmp_path.iterdir()))}")
    for path in Store(place).list():
        store.write(path, Store(place).read(path))
    plan = load_plan(store)
    made = select(store, plan, config(*more).select)
    found = {}
    for part in plan.parts():
        names = [Path(row["url"]).stem for row in store.read_table(f"candidates/{part}.parquet").to_pylist()]
        for name, row in zip(names, store.read_table(selection_path(part)).to_pylist(), strict=True):
            if row["state"] == "dropped":
                found[name] = (row["reason"], row["detail"])
    return made.select_hash, found


def keys(place: Path) -> dict[str, str]:
    rows = [row for path in Store(place).list("ledger") for row in Store(place).read_table(path).to_pylist()]
    return {Path(row["url"]).stem: row["key"] for row in rows}


def test_copies_that_hashes_miss_are_dropped_for_the_better_picture(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    assert decided(sets[0], tmp_path)[1] == {}
    key = keys(sets[0])
    assert decided(sets[0], tmp_path, SIMILAR)[1] == {
        "mirrored": ("near_duplicate", key["coffee"]),
        "cropped": ("near_duplicate", key["china"]),
    }


def test_what_an_evaluation_set_holds_is_dropped_and_named(sets: tuple[Path, Path], tmp_path: Path) -> None:
    exclude = f"select.exclude=[{sets[1]}]"
    by_hash = decided(sets[0], tmp_path, exclude)
    assert by_hash[1] == {}  # it is mirrored
    with_embeddings, dropped = decided(sets[0], tmp_path, SIMILAR, exclude)
    assert dropped.pop("rocket") == ("evaluation_duplicate", f"{sets[1]}: launch.png")
    assert set(dropped) == {"mirrored", "cropped"}
    # The hash of the selection follows what the set holds, not where it lies.
    grown = Store(tmp_path / "grown")
    for path in Store(sets[1]).list():
        grown.write(path, Store(sets[1]).read(path))
    ledger = grown.read_table("ledger/part-000000.parquet")
    before = decided(sets[0], tmp_path, f"select.exclude=[{grown.url}]")[0]
    grown.write_table("ledger/part-000000.parquet", ledger.slice(1))
    assert decided(sets[0], tmp_path, f"select.exclude=[{grown.url}]")[0] != before
    assert with_embeddings not in (before, by_hash[0])


def test_a_picture_that_was_not_looked_at_or_otherwise_is_an_error(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = Store(tmp_path / "bare")
    for path in Store(sets[0]).list():
        if not path.startswith("scores/mobilenet/part-000001"):
            bare.write(path, Store(sets[0]).read(path))
    with pytest.raises(
        UserError, match=r"part-000001\.parquet is not there; run, .*assess .* --with mobilenet"
    ):
        decided(Path(bare.url), tmp_path, SIMILAR)
    path = "scores/mobilenet/part-000000.parquet"
    table = Store(sets[0]).read_table(path)
    bare.write_table(path, table.slice(1))
    with pytest.raises(
        UserError, match="mobilenet has not looked at 1 picture of part-000000 that pass, first row 0"
    ):
        decided(Path(bare.url), tmp_path, SIMILAR)
    other = Store(tmp_path / "other")
    for name in Store(sets[1]).list():
        other.write(name, Store(sets[1]).read(name))
    foreign = other.read_table(path)
    other.write_table(path, foreign.replace_schema_metadata({"config": "{}", "weights": "{}"}))
    with pytest.raises(UserError, match="with other weights or settings; assess them alike"):
        decided(sets[0], tmp_path, SIMILAR, f"select.exclude=[{other.url}]")
    with pytest.raises(UserError, match=r"has no plan\.json"):
        decided(sets[0], tmp_path, f"select.exclude=[{tmp_path}]")
