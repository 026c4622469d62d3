"""`supir-infer sweep`: every combination is restored, measured and shown, once."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from supir_console import UserError
from supir_infer.cli import main
from supir_infer.saving import read_metadata
from supir_infer.settings import PRESETS
from supir_infer.sweep import Knob, Measured, cells_of, read_knobs
from supir_infer.sweep_curve import draw_curve, table_csv, table_markdown

VARY = ("--vary", "start_sigma=0.03,0.3", "--vary", "strength=0,1")


@pytest.fixture
def pair(tmp_path, face):
    """A photo of 192 x 192 px and its half."""
    clean = Image.fromarray(face).resize((192, 192), Image.Resampling.LANCZOS)
    clean.save(tmp_path / "clean.png")
    clean.resize((96, 96), Image.Resampling.BOX).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", tmp_path / "clean.png"


def test_a_sweep_writes_sheet_curve_and_table_and_goes_on_where_it_was(command, tmp_path, pair):
    photo, clean = pair
    out = tmp_path / "out"
    run = (photo, "-o", out, *VARY, "--reference", clean, "--set", "upscale=2", "--model", "mini")
    run += ("--set", "working_scale=1")
    ended = command(main, "sweep", *run, "--json")
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out)
    assert (summary["cells"], summary["failed"], summary["missing"]) == (4, 0, {})
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [(row["start_sigma"], row["strength"]) for row in rows] == [
        ("as given", "as given"),
        *(("0.03", "0"), ("0.03", "1"), ("0.3", "0"), ("0.3", "1")),
    ]
    given, untouched, restored, other, _ = (
        {k: float(v) for k, v in row.items() if k in MEASURED} for row in rows
    )
    assert untouched["psnr"] == pytest.approx(given["psnr"], abs=0.05)  # it is rounded to 8 bits
    assert untouched == other
    assert restored["lpips"] != untouched["lpips"]
    cell = out / "cells" / "start_sigma=0.3,strength=1" / "photo.png"
    assert read_metadata(cell)["settings"]["start_sigma"] == 0.3
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape[1] > 2 * 192
    assert sheet.shape[0] > 3 * 192
    restored_part = np.asarray(Image.open(cell))
    beside = sheet[:, 200:]
    corners = np.argwhere((beside[:-192, :-191] == restored_part[0, 0]).all(axis=2))
    assert any(np.array_equal(beside[y : y + 192, x : x + 192], restored_part) for y, x in corners)
    labels = [text.text for text in ET.parse(out / "curve.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert labels.count("as given") == 2
    assert {"strength=0", "strength=1"} <= set(labels)
    before = cell.stat().st_mtime_ns
    assert command(main, "sweep", *run, "--json").code == 0
    assert cell.stat().st_mtime_ns == before


MEASURED = ("psnr", "lpips", "niqe")


def test_a_failed_picture_leaves_a_gap_and_the_others_stand(command, tmp_path, photos):
    (photos / "broken.jpg").write_bytes(b"none")
    options = ("--model", "tiny", "--set", "min_size_px=64", "--set", "steps=1", "--vary", "seed=1,2")
    ended = command(main, "sweep", photos, "-o", tmp_path / "out", *options, "--set", "strength=0")
    assert ended.code == 1
    assert ended.err.count("failed: /") == 2  # the third is the count
    assert "a result has a side of 80 px, less than 192" in ended.out + ended.err
    assert (tmp_path / "out" / "sheet.png").exists()
    assert not (tmp_path / "out" / "curve.svg").exists()
    assert read_metadata(tmp_path / "out" / "cells" / "seed=2" / "face.png")["seed"] == 2


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ([], "--vary is given for nothing; give it once for each of two or three knobs"),
        (["steps=1,2"] * 2, "--vary is given for steps, steps;"),
        (
            [f"{key}=1,2" for key in ("steps", "upscale", "seed", "s_noise")],
            "for steps, upscale, seed, s_noise;",
        ),
        (["steps=4"], "--vary steps=4 has no two different values"),
        (["steps"], "--vary steps has no two different values"),
        (["output_format=png,jpg"], "results of a sweep are png files of 8 bits"),
        (["steps=4,4"], "has no two different values"),
        (["step=1,2"], "unknown config key 'step'; did you mean 'steps'"),
    ],
)
def test_knobs_that_are_none_are_refused(vary, words):
    with pytest.raises(UserError, match="(?s)" + words.replace("?", r"\?")):
        read_knobs(vary)


def test_a_combination_that_is_not_allowed_is_refused_before_anything_is_restored(tmp_path):
    knobs = read_knobs(["tile_px=512,256", "tile_stride_px=256,512"])
    with pytest.raises(UserError, match="tile_stride_px=512 leaves gaps between tiles of 256 px"):
        cells_of(knobs, PRESETS["mini"], 0, tmp_path)


def test_values_that_are_no_file_names_have_folders_of_their_own(tmp_path):
    knobs = (Knob("negative_prompt", ("a/b", "a b")), Knob("guidance_scale_start", (None, 1.0)))
    cells = cells_of(knobs, PRESETS["mini"], 0, tmp_path)
    assert len({cell.folder for cell in cells}) == 4
    assert all(cell.folder.parent == tmp_path / "cells" for cell in cells)
    assert cells[0].settings.guidance_scale_start is None


def test_an_output_where_the_input_lies_is_refused(command, tmp_path, pair):
    for source, output in ((pair[0], tmp_path), (tmp_path, tmp_path), (tmp_path, tmp_path / "sheets")):
        ended = command(main, "sweep", source, "-o", output, *VARY)
        assert ended.code == 2
        assert "is where the input lies, whose next run would restore the sheet" in ended.err


def test_table_and_curve_hold_the_figures():
    knobs = (Knob("steps", (1, 2)),)
    measured = [
        Measured({}, {"psnr": 20.0, "lpips": 0.5, "niqe": 8.0}, None),
        Measured({"steps": 1}, {"psnr": 24.0, "lpips": 0.25, "niqe": 6.0}, 0.5),
        Measured({"steps": 2}, {"psnr": 22.0, "lpips": 0.125, "niqe": 4.0}, 1.0),
    ]
    names = ["psnr", "lpips", "niqe"]
    assert table_markdown(knobs, measured, names).splitlines()[2:] == [
        "| as given | 20.00 | 0.5000 | 8.00 |  |",
        "| 1 | **24.00** | 0.2500 | 6.00 | 0.50 |",
        "| 2 | 22.00 | **0.1250** | **4.00** | 1.00 |",
    ]
    assert table_csv(knobs, measured, names).splitlines()[1] == "as given,20.0,0.5,8.0,"
    svg = draw_curve(knobs, measured)
    root = ET.fromstring(svg)
    dots = [
        (float(dot.get("cx")), float(dot.get("cy")))
        for dot in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    first, second, given = dots[:3]  # of LPIPS
    assert second[0] < first[0] < given[0]  # NIQE to the right
    assert given[1] < first[1] < second[1]  # LPIPS upwards
    assert (given[1] - first[1]) / (first[1] - second[1]) == pytest.approx(2, rel=0.02)
    labels = {text.text: text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert (
        labels["as given"].get("text-anchor") == "end"
    )  # the rightmost point's, which would leave the panel
    assert draw_curve(knobs, [Measured(cell.values, {"niqe": 1.0}, None) for cell in measured]) is None
