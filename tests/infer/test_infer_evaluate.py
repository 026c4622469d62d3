from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from supir_infer.artefacts import Found
from supir_infer.cli import main as infer
from supir_infer.eval_cli import main
from supir_infer.own_measures import OWN_MEASURES, OwnMeasure

FAST = ("--metrics", "psnr,ssim_y")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """hq: two photos; lq: they at a quarter; restored: they with known errors of 4 and 8 grey levels."""
    for index, image in enumerate((data.chelsea()[40:136, 100:196], data.coffee()[100:196, 200:296])):
        clean = np.clip(image, 20, 200)
        for name, array in (("hq", clean), ("restored", clean + np.uint8(4 * (index + 1)))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name / f"{index}.png")
        (tmp_path / "lq").mkdir(exist_ok=True)
        Image.fromarray(clean).resize((24, 24), Image.Resampling.BICUBIC).save(
            tmp_path / "lq" / f"{index}.png"
        )
    return tmp_path


def report(command, sets: Path, *options: object) -> dict:
    ended = command(main, sets / "restored", "--reference", sets / "hq", *FAST, "--json", *options)
    return json.loads(ended.out)


def psnr(offset: float) -> float:
    return float(20 * np.log10(255 / offset))


def test_the_mean_is_over_pictures_and_the_lq_is_measured_the_same_way(command, sets):
    figures = report(command, sets, "--lq", sets / "lq")
    assert figures["means"]["restored"]["psnr"] == pytest.approx((psnr(4) + psnr(8)) / 2, abs=1e-3)
    errors = []
    for index in range(2):
        clean = np.asarray(Image.open(sets / "hq" / f"{index}.png")).astype(float)
        small = Image.open(sets / "lq" / f"{index}.png").resize((96, 96), Image.Resampling.BICUBIC)
        errors.append(psnr(np.sqrt(np.mean((np.asarray(small).astype(float) - clean) ** 2))))
    assert figures["means"]["bicubic"]["psnr"] == pytest.approx(np.mean(errors), abs=0.02)
    assert figures["means"]["bicubic"]["ssim_y"] < figures["means"]["restored"]["ssim_y"]


def test_a_report_says_what_its_numbers_mean(command, sets):
    figures = report(command, sets, "--crop-border", 2)
    assert [metric["metric"] for metric in figures["metrics"]] == ["psnr", "ssim_y"]
    assert figures["metrics"][0]["implementation"].startswith("scikit-image ")
    assert figures["metrics"][1]["colour_space"] == "Y of YCbCr (BT.601, 16..235)"
    assert (figures["num_images"], figures["crop_border_px"], figures["sizes"]) == (2, 2, {"96x96": 2})
    assert "none, sizes must match" in figures["resize_policy"]
    assert len(figures["sample_list_sha256"]) == 64
    assert figures["made_with"] == [
        {"model": None, "model_sha256": None, "settings_hash": None, "seed": None, "images": 2}
    ]


def test_the_provenance_of_restored_pictures_is_in_the_report(command, sets):
    quick = ("--model", "tiny", "--steps", 1, "--min-size", 64, "--upscale", 4)
    assert command(infer, sets / "lq", "-o", sets / "made", *quick).code == 0
    ended = command(main, sets / "made", "--reference", sets / "hq", *FAST, "--json")
    (made,) = json.loads(ended.out)["made_with"]
    assert (made["model"], made["seed"], made["images"]) == ("tiny", 0, 2)
    assert len(made["settings_hash"]) == 16


def test_what_cannot_be_measured_is_not_among_what_the_figures_were_made_with(command, sets):
    (sets / "restored" / "0.png").write_bytes((sets / "restored" / "0.png").read_bytes()[:200])
    ended = command(main, sets / "restored", "--reference", sets / "hq", *FAST, "--json")
    figures = json.loads(ended.out)
    assert (ended.code, list(figures["failed"])) == (1, ["0"])
    assert [made["images"] for made in figures["made_with"]] == [figures["num_images"]] == [1]


def test_pictures_without_a_partner_are_named_and_end_with_code_1(command, sets):
    (sets / "hq" / "1.png").rename(sets / "hq" / "9.png")
    ended = command(main, sets / "restored", "--reference", sets / "hq", *FAST, "--json")
    figures = json.loads(ended.out)
    assert ended.code == 1
    assert figures["missing"] == {"restored": ["9"], "reference": ["1"]}
    assert figures["num_images"] == 1
    assert figures["means"]["restored"]["psnr"] == pytest.approx(psnr(4), abs=1e-3)


def test_a_size_that_differs_is_a_failure_and_never_resized(command, sets):
    Image.open(sets / "restored" / "1.png").resize((48, 50)).save(sets / "restored" / "1.png")
    ended = command(main, sets / "restored", "--reference", sets / "hq", *FAST, "--json")
    failed = json.loads(ended.out)["failed"]
    assert ended.code == 1
    assert failed["1"] == (
        "1: restored is 48x50 px, the reference 96x96; nothing is resized: restore it with the --upscale that fits"
    )


def test_a_picture_too_small_for_a_metric_says_so(command, sets):
    Image.open(sets / "restored" / "0.png").resize((10, 10)).save(sets / "a.png")
    ended = command(main, sets / "a.png", "--reference", sets / "a.png", *FAST, "--json")
    assert json.loads(ended.out)["failed"]["a"] == (
        "a: ssim_y needs sides of 11 px, got 10x10; leave it out with --metrics"
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_rows_per_picture_average_to_the_table(command, sets, suffix):
    figures = report(command, sets, "--lq", sets / "lq", "--per-image", sets / f"rows.{suffix}")
    if suffix == "csv":
        with (sets / "rows.csv").open() as stream:
            rows = list(csv.DictReader(stream))
    else:
        rows = pq.read_table(sets / "rows.parquet").to_pylist()
    values = [float(row["psnr"]) for row in rows if row["row"] == "restored"]
    assert len(rows) == 4
    assert np.mean(values) == pytest.approx(figures["means"]["restored"]["psnr"])


def test_an_earlier_report_is_compared_only_if_it_measured_the_same(command, sets):
    (sets / "before.json").write_text(json.dumps(report(command, sets)))
    better = np.asarray(Image.open(sets / "hq" / "0.png")) + np.uint8(2)
    Image.fromarray(better).save(sets / "restored" / "0.png")
    change = report(command, sets, "--against", sets / "before.json")["comparison"]["rows"]["restored"][
        "psnr"
    ]
    assert change["after"] - change["before"] == pytest.approx((psnr(2) - psnr(4)) / 2, abs=1e-3)
    assert (change["num_better"], change["num_equal"]) == (1, 1)
    assert change["moved_most"][0] == pytest.approx(["0", psnr(4), psnr(2)], abs=1e-3)
    ended = command(
        main,
        *(sets / "restored", "--reference", sets / "hq", *FAST),
        *("--crop-border", 4, "--against", sets / "before.json"),
    )
    assert ended.code == 2
    assert "before.json cannot be compared: crop_border_px is 0, now 4" in ended.err


def test_a_report_against_other_references_of_the_same_names_is_refused(command, sets):
    lq = ("--lq", sets / "lq")
    (sets / "before.json").write_text(json.dumps(report(command, sets, *lq)))
    assert "bicubic" in report(command, sets, *lq, "--against", sets / "before.json")["comparison"]["rows"]
    unchanged = report(command, sets, "--against", sets / "before.json")["comparison"]["rows"]["restored"]
    assert (unchanged["psnr"]["num_equal"], unchanged["psnr"]["p_value"]) == (2, None)
    line = (sets / "restored", "--reference", sets / "hq", *FAST, "--against", sets / "before.json")
    Image.open(sets / "lq" / "1.png").transpose(Image.Transpose.ROTATE_90).save(sets / "lq" / "1.png")
    ended = command(main, *line, *lq)
    assert ended.code == 2
    assert "before.json cannot be compared: the lq of 1 was another file" in ended.err
    Image.open(sets / "hq" / "1.png").transpose(Image.Transpose.ROTATE_90).save(sets / "hq" / "1.png")
    ended = command(main, *line)
    assert ended.code == 2
    assert "before.json cannot be compared: the reference of 1 was another file" in ended.err


PICTURE = {"reference_sha256": None, "lq_sha256": None, "identical": [], "figures": {}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1]", "it holds a list"),
        (b"{}", "crop_border_px: Field required"),
        (b"nothing", "Expecting value"),
        (b"\xff\xfe", "can't decode byte"),
        (b"[" * 100_000, "recursion"),
        ({"pictures": [1]}, "pictures: Input should be a valid dictionary"),
        ({"pictures": {"0": {"identical": []}}}, "pictures.0.reference_sha256: Field required"),
        (
            {"pictures": {"0": PICTURE | {"figures": {"restored": {"psnr": "high"}}}}},
            "pictures.0.figures.restored.psnr: Input should be a valid number",
        ),
        ({"pictures": {"0": PICTURE | {"figures": {"restored": {}}}}}, "the figures of 0 have no psnr"),
        ({"pictures": {"0": PICTURE | {"figures": {}}}}, "the figures of 0 have no psnr"),
        ({"pictures": {}}, "no picture is in both"),
        ({"metrics": []}, "it has no metric, now there is psnr, ssim_y"),
    ],
)
def test_a_malformed_earlier_report_is_one_line(command, sets, content, words):
    if isinstance(content, dict):
        content = json.dumps(report(command, sets) | content).encode()
    (sets / "bad.json").write_bytes(content)
    ended = command(
        main, sets / "restored", "--reference", sets / "hq", *FAST, "--against", sets / "bad.json"
    )
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert (
        "bad.json is no report of this version's supir-eval --json: " in ended.err or "cannot be" in ended.err
    )
    assert words in ended.err


def test_the_table_has_a_row_a_source_and_a_line_of_identity_a_metric(command, sets):
    out = command(
        main, sets / "restored", "--reference", sets / "hq", "--lq", sets / "lq", *FAST
    ).out.splitlines()
    assert out[0].split() == ["psnr", "↑", "ssim_y", "↑"]
    assert out[1].split()[:2] == ["restored", f"{(psnr(4) + psnr(8)) / 2:.4f}"]
    assert out[2].split()[0] == "bicubic"
    assert out[3].split()[:3] == ["restored", "median", f"{(psnr(4) + psnr(8)) / 2:.4f}"]
    assert out[5].split()[:4] == ["restored", "25", "%", f"{0.25 * psnr(4) + 0.75 * psnr(8):.4f}"]
    assert out[7].split()[:4] == ["restored", "75", "%", f"{0.75 * psnr(4) + 0.25 * psnr(8):.4f}"]
    assert out[9].split()[:4] == ["restored", "mean", "at", "least"]
    assert out[14].startswith("ssim_y: scikit-image ")
    assert out[14].endswith("; weights none; Y of YCbCr (BT.601, 16..235)")


def test_single_files_are_compared_whatever_their_names_and_folders_by_name(command, sets):
    hq = sets / "hq"
    ended = command(main, sets / "restored" / "0.png", "--reference", hq / "1.png", *FAST, "--json")
    assert json.loads(ended.out)["means"]["restored"]["psnr"] < 20
    ended = command(main, sets / "restored" / "1.png", "--reference", hq, *FAST, "--json")
    assert json.loads(ended.out)["means"]["restored"]["psnr"] == pytest.approx(psnr(8), abs=1e-3)


def test_what_cannot_be_measured_is_one_line(command, sets, tmp_path):
    (tmp_path / "other").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "z.png")
    restored = sets / "restored"
    cases = [
        ((restored,), "no metric can be measured (psnr: needs --reference"),
        (
            (restored, "--reference", tmp_path / "other"),
            "no picture has the same name in restored and reference",
        ),
        ((restored, "--reference", tmp_path / "none"), "none does not exist; give a picture or a folder"),
        ((restored, "--per-image", "rows.txt"), "--per-image rows.txt must end in .csv or .parquet"),
        (
            (restored, "--against", tmp_path / "x.json", "--reference", sets / "hq"),
            "x.json is no report of this version's supir-eval --json: No such file",
        ),
    ]
    for arguments, words in cases:
        ended = command(main, *arguments, *FAST)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert words in ended.err


def test_a_metric_of_pyiqa_without_pyiqa_is_one_line_with_the_extra(command, sets, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    ended = command(main, sets / "restored", "--metrics", "musiq")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "pip install 'supir-stack[iqa]'" in ended.err


def test_a_picture_that_niqe_has_no_value_for_is_named(command, tmp_path):
    Image.new("RGB", (256, 256), (90, 90, 90)).save(tmp_path / "flat.png")
    ended = command(main, tmp_path, "--metrics", "niqe", "--json")
    assert ended.code == 1
    assert "niqe has no value (nan)" in json.loads(ended.out)["failed"]["flat"]


@pytest.fixture
def three(sets: Path) -> Path:
    """The sets with a third picture whose restored and LQ side are its reference."""
    clean = data.astronaut()[0:96, 100:196]
    for name in ("hq", "restored", "lq"):
        Image.fromarray(clean).save(sets / name / "same.png")
    return sets


def test_an_identical_pair_is_named_and_in_no_average(command, three):
    figures = report(command, three, "--lq", three / "lq", "--per-image", three / "rows.csv")
    assert figures["identical"] == {"restored": ["same"], "bicubic": ["same"]}
    assert (figures["num_images"], figures["num_averaged"]) == (3, 2)
    middle = pytest.approx((psnr(4) + psnr(8)) / 2, abs=1e-3)
    assert figures["means"]["restored"]["psnr"] == figures["medians"]["restored"]["psnr"] == middle
    assert figures["means"]["restored"]["ssim_y"] < 0.9999
    with (three / "rows.csv").open() as stream:
        rows = {(row["name"], row["row"]): row["identical"] for row in csv.DictReader(stream)}
    assert {key for key, identical in rows.items() if identical == "True"} == {
        ("same", "restored"),
        ("same", "bicubic"),
    }


def test_a_picture_that_is_identical_in_one_row_is_in_no_average_of_the_others(command, three):
    Image.open(three / "hq" / "0.png").save(three / "restored" / "0.png")
    figures = report(command, three, "--lq", three / "lq")
    assert figures["identical"] == {"restored": ["0", "same"], "bicubic": ["same"]}
    assert figures["num_averaged"] == 1
    assert figures["means"]["restored"]["psnr"] == pytest.approx(psnr(8), abs=1e-3)


def test_quartiles_are_those_of_the_pictures(command, sets):
    clean = np.asarray(Image.open(sets / "hq" / "0.png"))
    for offset in (1, 2, 16):
        Image.fromarray(clean).save(sets / "hq" / f"more{offset}.png")
        Image.fromarray(clean + np.uint8(offset)).save(sets / "restored" / f"more{offset}.png")
    figures = report(command, sets)
    found = [figures[name]["restored"]["psnr"] for name in ("lower_quartiles", "medians", "upper_quartiles")]
    assert found == pytest.approx([psnr(8), psnr(4), psnr(2)], abs=1e-3)


def test_where_all_pairs_are_identical_there_is_no_average(command, sets):
    ended = command(main, sets / "hq", "--reference", sets / "hq", *FAST, "--json")
    figures = json.loads(ended.out)
    assert ended.code == 0
    assert figures["means"]["restored"] == figures["medians"]["restored"] == {"psnr": None, "ssim_y": None}
    assert figures["identical"] == {"restored": ["0", "1"]}
    out = command(main, sets / "hq", "--reference", sets / "hq", *FAST).out.splitlines()
    assert out[1].split() == ["restored", "-", "-"]
    assert out[7] == ("2 of 2 restored pictures equal to the reference pixel for pixel, in no average: 0, 1")


def test_pictures_that_are_identical_inside_the_crop_border_are_identical(command, sets):
    framed = np.asarray(Image.open(sets / "hq" / "0.png")).copy()
    framed[:3] = 0
    Image.fromarray(framed).save(sets / "restored" / "0.png")
    assert report(command, sets)["identical"] == {}
    assert report(command, sets, "--crop-border", 3)["identical"] == {"restored": ["0"]}


def test_pictures_that_one_run_alone_has_or_that_are_their_reference_are_compared_apart(command, three):
    (three / "before.json").write_text(json.dumps(report(command, three)))
    Image.open(three / "restored" / "0.png").resize((96, 96)).save(three / "restored" / "same.png")
    (three / "restored" / "1.png").write_bytes(b"broken")
    ended = command(
        main,
        *(
            three / "restored",
            "--reference",
            three / "hq",
            *FAST,
            "--against",
            three / "before.json",
            "--json",
        ),
    )
    comparison = json.loads(ended.out)["comparison"]
    assert ended.code == 1
    assert (comparison["num_compared"], comparison["apart"]) == (
        1,
        {"only_before": ["1"], "identical": ["same"]},
    )


def test_another_run_is_measured_and_compared_where_its_folder_is_named(command, sets):
    for index in range(2):
        clean = np.asarray(Image.open(sets / "hq" / f"{index}.png"))
        (sets / "before").mkdir(exist_ok=True)
        Image.fromarray(clean + np.uint8(16)).save(sets / "before" / f"{index}.png")
    figures = report(command, sets, "--against", sets / "before")
    change = figures["comparison"]["rows"]["restored"]["psnr"]
    assert (change["before"], change["num_better"]) == (pytest.approx(psnr(16), abs=1e-3), 2)
    out = command(
        main, sets / "restored", "--reference", sets / "hq", *FAST, "--against", sets / "before"
    ).out.splitlines()
    assert f"against {sets / 'before'}: 2 pictures" in out
    [row] = [line.split() for line in out if line.split()[:2] == ["psnr", "↑"] and "2/0/0" in line]
    assert row[2:4] == [f"{psnr(16):.4f}", f"{(psnr(4) + psnr(8)) / 2:.4f}"]
    assert any(line.startswith("moved most in psnr: 0 +12.04, 1 +6.0") for line in out)
    single = command(
        main,
        *(sets / "restored" / "0.png", "--reference", sets / "hq" / "0.png", *FAST, "--json"),
        *("--against", sets / "before" / "1.png"),
    )
    assert single.code == 0, single.err
    assert json.loads(single.out)["comparison"]["num_compared"] == 1


def test_all_that_is_wrong_with_a_picture_is_its_row_and_the_others_are_measured(command, sets):
    """One of each: cut short, no picture, empty, another size, another proportion than its LQ, no reference."""
    good = Image.open(sets / "hq" / "0.png")
    names = ("cut", "text", "empty", "size", "lqshape", "noref", "badref")
    for name in names:
        for side in ("hq", "restored"):
            good.save(sets / side / f"{name}.png")
        good.resize((24, 24)).save(sets / "lq" / f"{name}.png")
    whole = (sets / "restored" / "cut.png").read_bytes()
    (sets / "restored" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (sets / "restored" / "text.png").write_text("no picture")
    (sets / "restored" / "empty.png").write_bytes(b"")
    good.resize((90, 96)).save(sets / "restored" / "size.png")
    good.resize((24, 40)).save(sets / "lq" / "lqshape.png")
    (sets / "hq" / "noref.png").unlink()
    (sets / "hq" / "badref.png").write_bytes(b"broken")
    ended = command(
        main,
        *(sets / "restored", "--reference", sets / "hq", "--lq", sets / "lq", "--json"),
        *("--metrics", "psnr,consistency,colour_shift,grid"),
    )
    figures = json.loads(ended.out)
    assert ended.code == 1
    assert list(figures["pictures"]) == ["0", "1"]
    assert figures["missing"] == {"reference": ["noref"]}
    assert set(figures["failed"]) == set(names) - {"noref"}
    assert "the LQ 24x40: of other proportions" in figures["failed"]["lqshape"]
    assert all(len(reason) > 20 and "\n" not in reason for reason in figures["failed"].values())


def test_a_defect_in_a_metric_is_the_failure_of_its_picture(command, sets, monkeypatch):
    plain = OWN_MEASURES["grid"]()

    def broken(image: np.ndarray, lq: np.ndarray | None) -> Found:
        if image.mean() == 1:
            raise RuntimeError("out of something")
        return plain.compute(image, lq)

    monkeypatch.setitem(OWN_MEASURES, "grid", lambda: OwnMeasure(plain.identity, broken))
    Image.new("RGB", (96, 96), "white").save(sets / "restored" / "2.png")
    ended = command(main, sets / "restored", "--metrics", "grid", "--json")
    assert json.loads(ended.out)["failed"] == {"2": "2: RuntimeError: out of something"}
    assert ended.code == 1


def test_grey_and_16_bit_pictures_are_what_they_show(command, sets, tmp_path):
    grey = np.asarray(Image.open(sets / "hq" / "0.png").convert("L"))
    for side, shift in (("g_hq", 0), ("g_restored", 3)):
        (tmp_path / side).mkdir()
        Image.fromarray(grey + np.uint8(shift)).save(tmp_path / side / "a.png")
        Image.fromarray((grey.astype(np.uint16) + shift) * 257).save(tmp_path / side / "deep.png")
    ended = command(main, tmp_path / "g_restored", "--reference", tmp_path / "g_hq", *FAST, "--json")
    pictures = json.loads(ended.out)["pictures"]
    for name in ("a", "deep"):
        assert pictures[name]["figures"]["restored"]["psnr"] == pytest.approx(psnr(3), abs=1e-3)


def test_transparent_pixels_count_as_the_grey_they_lie_over(command, sets, tmp_path):
    rgb = np.asarray(Image.open(sets / "hq" / "0.png")).copy()
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:40] = 0
    other = rgb.copy()
    other[:40] = 7  # under full transparency: nobody sees it
    other[40:] += 5
    for side, pixels in (("a_hq", rgb), ("a_restored", other)):
        (tmp_path / side).mkdir()
        Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / side / "a.png")
    ended = command(main, tmp_path / "a_restored", "--reference", tmp_path / "a_hq", *FAST, "--json")
    figures = json.loads(ended.out)
    seen = 5 * np.sqrt(56 / 96)
    assert figures["means"]["restored"]["psnr"] == pytest.approx(psnr(seen), abs=1e-3)
    assert (figures["num_with_alpha"], figures["alpha_policy"]) == (
        1,
        "transparent pixels lie over mid grey, on every side",
    )


def test_figures_that_could_not_be_written_are_refused_before_a_picture_is_read(command, sets, tmp_path):
    restored = ("--reference", sets / "hq", *FAST)
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "file").touch()
    there = sorted(tmp_path.rglob("*"))
    cases = [
        (tmp_path / "file" / "rows.csv", "its folder", "it is no folder; give a folder that can be"),
        (tmp_path / "dir.csv", "dir.csv is a folder; give the name of a file", ""),
        (Path("/proc/rows.parquet"), "/proc/rows.parquet: its folder /proc cannot be written to: ", ""),
        (tmp_path / "rows.txt", "rows.txt must end in .csv or .parquet", ""),
    ]
    for path, *words in cases:
        ended = command(main, sets / "nowhere", *restored, "--per-image", path)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert all(each in ended.err for each in words)
    assert sorted(tmp_path.rglob("*")) == there


def test_figures_are_written_where_no_folder_is_yet(command, sets, tmp_path):
    report(command, sets, "--per-image", tmp_path / "new" / "deep" / "rows.csv")
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["rows.csv"]


def test_a_name_of_any_bytes_is_measured_and_shown(command, sets):
    for side in ("hq", "restored"):
        source = (sets / side / "1.png").read_bytes()
        Path(os.fsdecode(os.fsencode(sets / side) + b"/caf\xe9.png")).write_bytes(source)
    figures = report(command, sets, "--per-image", sets / "rows.csv")
    assert figures["pictures"]["caf\\xe9"]["figures"]["restored"]["psnr"] == pytest.approx(psnr(8), abs=1e-3)
    assert "caf\\xe9,restored" in (sets / "rows.csv").read_text()


def test_a_name_matches_however_its_accents_are_written_and_stays_on_its_line(command, sets):
    source = (sets / "hq" / "1.png").read_bytes()
    for name in ("caf\u00e9", "two\nlines"):
        (sets / "hq" / f"{name}.png").write_bytes(source)
    shutil.copy(sets / "restored" / "1.png", sets / "restored" / "cafe\u0301.png")
    shutil.copy(sets / "restored" / "1.png", sets / "restored" / "two\nlines.png")
    figures = report(command, sets)
    assert figures["pictures"]["caf\u00e9"]["figures"]["restored"]["psnr"] == pytest.approx(psnr(8), abs=1e-3)
    assert figures["missing"] == {}
    shutil.copytree(sets / "restored", sets / "before")
    shutil.copy(sets / "restored" / "0.png", sets / "before" / "two\nlines.png")
    out = command(
        main, sets / "restored", "--reference", sets / "hq", *FAST, "--against", sets / "before"
    ).out
    assert "moved most in psnr: two\\nlines " in out
    assert "two\nlines" not in out


def test_what_could_not_be_measured_of_the_other_run_is_told(command, sets):
    shutil.copytree(sets / "restored", sets / "before")
    (sets / "before" / "1.png").write_bytes(b"torn")
    line = (sets / "restored", "--reference", sets / "hq", *FAST, "--against", sets / "before")
    out = command(main, *line).out
    assert "1 picture; apart: only now 1\n" in out
    assert "not measured there: 1.png" in out
    assert "moved most" not in out  # what is left is the same picture
    told = json.loads(command(main, *line, "--json").out)
    assert (list(told["failed_before"]), told["comparison"]["num_compared"]) == (["1"], 1)


def test_seams_are_told_of_pictures_in_tiles_with_the_worst_border(command, tmp_path):
    calm = np.tile((np.arange(200) // 2).astype(np.uint8), (200, 1))
    tiled = calm.copy()
    tiled[:, 100:] += 12
    for name, pixels in (("calm", calm), ("tiled", tiled)):
        Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(tmp_path / f"{name}.png")
    line = (tmp_path, "--metrics", "grid", "--tiles", 100)
    seams = json.loads(command(main, *line, "--json").out)["seams"]
    assert seams["num_tiled"] == 2
    assert (seams["worst"][0]["name"], seams["worst"][0]["line"]) == ("tiled", "column 100")
    assert seams["worst"][0]["ratio"] > 10 > 1.7 > seams["worst"][1]["ratio"]
    out = command(main, *line).out
    assert "2 pictures in tiles: jump at tile borders over beside them " in out
    assert "; worst tiled " in out
    assert json.loads(command(main, tmp_path, "--metrics", "grid", "--json").out)["seams"]["num_tiled"] == 0


def test_a_grid_is_an_alarm_of_a_report_alone(command, sets):
    y, x = np.mgrid[:96, :96]
    clean = np.asarray(Image.open(sets / "hq" / "0.png"))
    Image.fromarray(clean + (8 * ((x % 4 < 2) & (y % 4 < 2))).astype(np.uint8)[..., None]).save(
        sets / "restored" / "0.png"
    )
    out = command(main, sets / "restored", "--metrics", "grid").out
    assert "ALARM a grid of a few pixels stands in 1 of 2 pictures: 0 (3." in out
    assert " levels every 4 px)" in out
    assert json.loads(command(main, sets / "hq", "--metrics", "grid", "--json").out)["alarms"] == []
