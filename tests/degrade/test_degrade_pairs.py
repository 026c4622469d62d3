from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from supir_console import UserError, load_config
from supir_degrade import Trace, load_recipe, replay
from supir_degrade.cli import app
from supir_degrade.pairs import PairsConfig, make_pairs
from supir_shards import (
    Dataset,
    DatasetError,
    Role,
    Sample,
    Store,
    finish_dataset,
    index_path,
    shard_path,
    verify,
    write_part,
)

CONFIG = PairsConfig(recipe=load_recipe("realesrgan", ["clean_share=0"]), count=5, crop_px=128)


def _run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["pairs", *map(str, arguments)])


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "out"
    result = _run(photos, "-o", out, "--count", 5, "--crop", 128, "--set", "recipe.clean_share=0", "--json")
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
        trace = Trace.from_json(record.trace)
        np.testing.assert_array_equal(replay(clean, trace), degraded)
        assert (clean != degraded).any()


def test_hq_is_the_crop_of_the_photo_that_its_metadata_names(made: Path, photos: Path) -> None:
    originals = {record.key: _pixels(record.image) for record in Dataset(photos).samples()}
    for record in Dataset(made / "hq").samples():
        x0, y0, x1, y1 = record.origin.parent_box
        np.testing.assert_array_equal(_pixels(record.image), originals[record.key][y0:y1, x0:x1])


def test_both_sides_say_what_their_photo_says_of_itself(made: Path, photos: Path, crop_of: str) -> None:
    told = {one.key: one for one in Dataset(photos).samples()}
    records = [*Dataset(made / "hq").samples(), *Dataset(made / "lq").samples()]
    for record in records:
        photo = told[record.key]
        for name in ("role", "source", "licence", "text", "source_key"):
            assert getattr(record, name) == getattr(photo, name)
    cut = next(record for record in records if record.source_key == crop_of)
    x0, y0 = cut.origin.parent_box[:2]
    assert cut.role == "face"
    assert cut.origin.sha256 == "ab"
    assert cut.origin.box == (100 + 2 * x0, 200 + 2 * y0, 100 + 2 * x0 + 256, 200 + 2 * y0 + 256)
    assert cut.origin.scale == 0.5


def test_negatives_and_small_photos_are_not_chosen(made: Path, photos: Path) -> None:
    rows = [row for part in Dataset(photos).parts() for row in Dataset(photos).index(part).to_pylist()]
    allowed = {r["key"] for r in rows if r["role"] != "negative" and min(r["width"], r["height"]) >= 128}
    assert {record.key for record in Dataset(made / "hq").samples()} == allowed


def test_a_second_run_elsewhere_gives_the_same_bytes(made: Path, photos: Path, tmp_path: Path) -> None:
    _run(photos, "-o", tmp_path / "b", "--count", 5, "--crop", 128, "--set", "recipe.clean_share=0")
    assert _files(tmp_path / "b") == _files(made)
    assert verify(made / "hq") == []
    assert verify(made / "lq") == []


def test_a_part_without_its_lq_index_is_made_again(made: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "c")
    (tmp_path / "c/lq" / index_path("part-000001")).unlink()
    (tmp_path / "c/hq" / shard_path("part-000001")).write_bytes(b"half")
    kept = (tmp_path / "c/lq" / shard_path("part-000000")).stat().st_mtime_ns
    result = _run(photos, "-o", tmp_path / "c", "--count", 5, "--crop", 128, "--set", "recipe.clean_share=0")
    assert result.exit_code == 0
    assert _files(tmp_path / "c") == _files(made)
    assert (tmp_path / "c/lq" / shard_path("part-000000")).stat().st_mtime_ns == kept


def test_other_options_are_refused_in_the_same_folder(made: Path, photos: Path) -> None:
    result = _run(photos, "-o", made, "--count", 4, "--crop", 128, "--set", "recipe.clean_share=0")
    assert "holds the work of another config or of other photos" in str(result.exception)


def test_a_damaged_mark_is_named_with_its_mend(made: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "d")
    for content in (b"", b"{", b"\xff\xfe"):
        (tmp_path / "d/lq/job.json").write_bytes(content)
        with pytest.raises(
            UserError, match=r"d/lq/job\.json is damaged .*; restore that file, or give another"
        ):
            make_pairs(Dataset(photos), str(tmp_path / "d"), CONFIG)
    (tmp_path / "d/lq/job.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="holds the work of another config"):
        make_pairs(Dataset(photos), str(tmp_path / "d"), CONFIG)


def test_a_dry_run_prints_what_is_left_and_writes_nothing(made: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--count", 5, "--crop", 128, "--set", "recipe.clean_share=0", "--dry-run", "--json")
    fresh, done = (json.loads(_run(photos, "-o", out, *options).stdout) for out in (tmp_path / "n", made))
    assert fresh == {"pairs": 5, "parts": 2, "output_bytes_at_most": 5 * 2 * 3 * 128**2}
    assert done == {"pairs": 0, "parts": 0, "output_bytes_at_most": 0}
    assert not (tmp_path / "n").exists()
    refused = _run(photos, "-o", made, "--count", 4, "--crop", 128, "--dry-run")
    assert "holds the work of another config" in str(refused.exception)


def test_the_printed_config_is_read_back_and_flags_change_it(tmp_path: Path) -> None:
    flags = ["--recipe", "light", "--count", "7", "--set", "recipe.clean_share=0.5", "--set", "seed=3"]
    printed = CliRunner().invoke(app, ["pairs", *flags, "--print-config"])
    assert printed.exit_code == 0, printed.output
    (tmp_path / "c.yaml").write_text(printed.stdout)
    recipe = load_recipe("light", ["clean_share=0.5"])
    assert load_config(PairsConfig, tmp_path / "c.yaml") == PairsConfig(recipe=recipe, count=7, seed=3)
    assert "# side of the square crop, px\ncrop_px: 512\n" in printed.stdout
    again = CliRunner().invoke(
        app, ["pairs", "--config", str(tmp_path / "c.yaml"), "--recipe", "web2026", "--print-config"]
    )
    (tmp_path / "d.yaml").write_text(again.stdout)
    changed = load_config(PairsConfig, tmp_path / "d.yaml")
    assert (changed.recipe, changed.count) == (load_recipe("web2026"), 7)


def test_a_recipe_is_a_name_or_a_name_with_changed_keys_in_a_config_file(tmp_path: Path) -> None:
    assert PairsConfig().recipe == load_recipe("realesrgan")
    (tmp_path / "c.yaml").write_text("recipe: light")
    assert load_config(PairsConfig, tmp_path / "c.yaml").recipe == load_recipe("light")
    (tmp_path / "c.yaml").write_text("recipe: {clean_share: 0}")
    assert load_config(PairsConfig, tmp_path / "c.yaml").recipe == load_recipe(
        "realesrgan", ["clean_share=0"]
    )
    (tmp_path / "c.yaml").write_text("recipe: {name: light, clean_shar: 0}")
    with pytest.raises(UserError, match=r"recipe\.clean_shar'; did you mean 'recipe\.clean_share'"):
        load_config(PairsConfig, tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("recipe: lite")
    with pytest.raises(
        UserError, match=r"key 'recipe': recipe 'lite' is neither a file nor one of realesrgan"
    ):
        load_config(PairsConfig, tmp_path / "c.yaml")


@pytest.mark.parametrize("command", ["pairs", "negatives", "preview"])
def test_an_unfinished_or_newer_dataset_is_refused(photos: Path, tmp_path: Path, command: str) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    arguments = [command, str(tmp_path / "photos"), "-o", str(tmp_path / "out.png")]
    manifest = tmp_path / "photos/dataset.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 3}))
    newer = CliRunner().invoke(app, arguments).exception
    assert isinstance(newer, DatasetError)
    assert "has format 3, this release of supir-stack reads 2; upgrade it" in str(newer)
    manifest.unlink()
    unfinished = CliRunner().invoke(app, arguments).exception
    assert isinstance(unfinished, DatasetError)
    assert "holds no finished dataset: dataset.json is missing" in str(unfinished)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs"], "DATASET is missing; type: supir-degrade pairs DATASET -o VAL"),
        (["negatives"], "DATASET is missing; type: supir-degrade negatives DATASET -o NEG"),
        (["preview"], "IMAGE or DATASET is missing; type: supir-degrade preview photo.jpg -o sheet.png"),
        (["pairs", "{photos}"], "-o is missing; type: supir-degrade pairs DATASET -o VAL"),
        (["negatives", "{photos}"], "-o is missing"),
        (["preview", "{photos}"], "-o is missing"),
    ],
)
def test_what_is_missing_on_the_line_is_named(photos: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, [argument.format(photos=photos) for argument in arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


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


def _with_chunk(image: np.ndarray, kind: bytes, data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return buffer.getvalue()[:33] + chunk + buffer.getvalue()[33:]


def test_pictures_that_no_decoder_takes_are_recorded_and_the_rest_is_made(
    astronaut: np.ndarray, tmp_path: Path
) -> None:
    long_text = b"c\0\0" + zlib.compress(b"x" * 20 * 2**20)
    stored = {
        "a" * 32: _with_chunk(astronaut, b"zTXt", long_text),  # ValueError in Pillow
        "b" * 32: _with_chunk(astronaut, b"IHDR", b"\0"),
        "c" * 32: _with_chunk(astronaut, b"tEXt", b"sound"),
        "d" * 32: _with_chunk(astronaut[:400], b"tEXt", b"smaller than its index says"),
    }
    samples = [
        Sample(key=key, image=data, extension="png", role=Role.PHOTO, width=512, height=512)
        for key, data in stored.items()
    ]
    store = Store(tmp_path / "photos")
    write_part(store, "part-000000", samples)
    finish_dataset(store, command="test", config={}, config_hash="0")
    result = _run(store.url, "-o", tmp_path / "out", "--count", 4, "--crop", 64, "--json")
    assert result.exit_code == 1, result.exception
    assert [record.key for record in Dataset(tmp_path / "out/lq").samples()] == ["c" * 32]
    summary = json.loads(result.stdout)
    assert (summary["pairs"], summary["failed"]) == (1, 3)
    listed = [json.loads(line) for line in Path(summary["failures"]).read_text().splitlines()]
    assert [(entry["sample"], entry["reason"]) for entry in listed] == [
        (letter * 32, "unreadable") for letter in "abd"
    ]
    assert "Decompressed data too large" in listed[0]["detail"]
    assert "is 512x400 px, its index says 512x512" in listed[2]["detail"]


def test_too_few_photos_are_told_with_both_numbers(photos: Path, tmp_path: Path) -> None:
    result = _run(photos, "-o", tmp_path / "x", "--count", 6, "--crop", 128)
    assert "has 5 photos of 128 px or more on the shorter side, 6 were asked for" in str(result.exception)


def _pairs(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    hq, lq = ({one.key: one.image for one in Dataset(folder / side).samples()} for side in ("hq", "lq"))
    return {key: (hq[key], lq[key]) for key in hq}


def test_the_clean_share_is_degraded_and_counted_unless_it_is_asked_for(photos: Path, tmp_path: Path) -> None:
    options = ("--count", 5, "--crop", 128, "--seed", 2, "--set", "recipe.clean_share=0.5", "--json")
    left_out = json.loads(_run(photos, "-o", tmp_path / "a", *options).stdout)
    kept = json.loads(_run(photos, "-o", tmp_path / "b", *options, "--set", "clean=true").stdout)
    without, with_clean = _pairs(tmp_path / "a"), _pairs(tmp_path / "b")
    identical = {key for key, (hq, lq) in with_clean.items() if hq == lq}
    assert 0 < len(identical) < 5
    assert (left_out["pairs"], left_out["clean"], left_out["clean_left_out"]) == (5, 0, len(identical))
    assert (kept["pairs"], kept["clean"], kept["clean_left_out"]) == (5, len(identical), 0)
    assert len(without) == 5
    assert all(hq != lq for hq, lq in without.values())
    assert {key for key in without if without[key] != with_clean[key]} == identical


def test_a_recipe_that_is_all_clean_still_gives_degraded_pairs(
    made: Path, photos: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"recipe": load_recipe("realesrgan", ["clean_share=1"])})
    assert make_pairs(Dataset(photos), str(tmp_path / "all"), config)["clean_left_out"] == 5
    assert _pairs(tmp_path / "all") == _pairs(made)
