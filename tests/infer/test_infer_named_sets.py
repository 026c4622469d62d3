from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from supir_console import UserError
from supir_infer.eval_cli import main
from supir_infer.named_sets import find_set, sample_name

FAST = ("--metrics", "psnr_y,consistency", "--json")


def picture(path: Path, side: int, shift: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.clip(data.coffee()[:384, :384], 0, 200) + np.uint8(shift))
    image.resize((side, side), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Two crops of RealSR as they are published, and their restorations, named after the LQ."""
    for name in ("Canon_001", "Nikon_004"):
        picture(tmp_path / "RealSRVal_crop128" / "test_HR" / f"{name}_HR.png", 96)
        picture(tmp_path / "RealSRVal_crop128" / "test_LR" / f"{name}_LR4.png", 24)
        picture(tmp_path / "restored" / f"{name}_LR4.png", 96, shift=2)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("Canon_001_HR", "Canon_001"),
        ("Canon_001_LR4", "Canon_001"),
        ("DSC_1286_x1", "DSC_1286"),
        ("0801x4", "0801"),
        ("0801", "0801"),
        ("deep/0801x4", "deep/0801"),
        ("_HR", "_HR"),
        ("boxx4", "boxx4"),
        ("a_lq", "a"),
    ],
)
def test_a_name_loses_the_ending_of_its_side_and_nothing_else(name, sample):
    assert sample_name(name) == sample


def test_a_set_gives_reference_lq_border_and_metrics_and_tells_what_differs(command, crops):
    ended = command(main, crops / "restored", "--benchmark", crops / "RealSRVal_crop128", *FAST)
    figures = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert (figures["benchmark"], figures["crop_border_px"], figures["num_images"]) == ("RealSR", 4, 2)
    assert "PSNR and SSIM of Y (BT.601, 16..235)" in figures["protocol"]
    assert figures["differs_from_protocol"] == "2 of the set's 100 pictures"
    assert list(figures["pictures"]) == ["Canon_001", "Nikon_004"]
    assert set(figures["means"]) == {"restored", "bicubic"}
    assert [metric["metric"] for metric in figures["metrics"]] == ["psnr_y", "consistency"]


def test_results_that_are_not_four_times_their_lq_are_told(command, crops):
    (crops / "RealLQ250").mkdir()
    for name in ("001", "002"):
        picture(crops / "RealLQ250" / "lq" / f"{name}.png", 24)
        picture(crops / "own" / f"{name}.png", 96 if name == "001" else 72)
    figures = json.loads(command(main, crops / "own", "--benchmark", crops / "RealLQ250", *FAST).out)
    assert figures["benchmark"] == "RealLQ250"
    assert figures["differs_from_protocol"].endswith("; 1 result not x4 of the LQ: 002")


@pytest.mark.parametrize(
    ("folder", "sides", "name"),
    [
        ("DrealSRVal_crop128", ("test_HR", "test_LR"), "DRealSR"),
        ("DIV2K_V2_val", ("gt", "lq"), "DIV2K-val"),
        ("div2k", ("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X4"), "DIV2K-val"),
        ("RealPhoto60", ("LQ",), "RealPhoto60"),
        ("RealPhoto60", (".",), "RealPhoto60"),
        ("RealLQ250", ("lq",), "RealLQ250"),
        ("RealSR=mine", ("test_HR", "test_LR"), "RealSR"),
        ("real-lq-250=mine", ("lq",), "RealLQ250"),
    ],
)
def test_sets_are_known_by_their_layout(tmp_path, folder, sides, name):
    own = folder.rpartition("=")[2]
    for side in sides:
        picture(tmp_path / own / side / "a.png", 24)
    asked = folder.replace(own, str(tmp_path / own))
    found = find_set(asked)
    assert found.layout.name == name
    assert (found.reference is None) == (len(sides) == 1)


def test_what_is_no_set_or_could_be_two_is_one_line(command, crops):
    (crops / "RealSRVal_crop128").rename(crops / "mine")
    restored, mine = crops / "restored", crops / "mine"
    cases = [
        ((mine,), "is laid out like RealSR or DRealSR; say which: --benchmark NAME="),
        ((crops / "none",), "none is no folder"),
        ((restored,), "is laid out like no set that is known (RealSR: test_HR and test_LR; DRealSR"),
        ((f"Set5={mine}",), "--benchmark Set5: no such set; use DIV2K-val, DRealSR, RealLQ250"),
        ((f"DIV2K-val={mine}",), "is laid out like no set that is known (DIV2K-val: gt and lq"),
        ((f"RealSR={mine}", "--crop-border", 0), "--benchmark says reference, LQ and crop border itself"),
    ]
    for (folder, *more), words in cases:
        ended = command(main, restored, "--benchmark", folder, *more)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert words in ended.err


def test_two_files_that_would_be_one_sample_are_refused(crops):
    picture(crops / "RealSRVal_crop128" / "test_HR" / "Canon_001_GT.png", 96)
    with pytest.raises(UserError, match=r"Canon_001_GT\.png and Canon_001_HR\.png .* are both Canon_001"):
        find_set(str(crops / "RealSRVal_crop128")).match(crops / "restored")
