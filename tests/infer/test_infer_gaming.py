"""The gaming alarm on planted cases: what a run does to a metric without doing it to the picture, and what is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from supir_infer.comparison import PairedChange
from supir_infer.evaluate import Ways, evaluate
from supir_infer.gaming import alarms
from supir_infer.judgement import judged
from supir_infer.matching import match_samples

SIDE = 192
PHOTOS = {"face": (data.astronaut, 0, 100), "cat": (data.chelsea, 20, 80)}
METRICS = ("lpips", "lpips_vgg", "niqe", "brisque", "consistency", "grid")
WITHOUT_NETWORKS = METRICS[2:]
Report = dict[str, Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hq, lq (blur, x4, JPEG 60), and runs: bicubic, and it played on in three ways, and a true improvement."""
    folder = tmp_path_factory.mktemp("gaming")
    y, x = np.mgrid[:SIDE, :SIDE]
    grid = 3.0 * np.where((x % 4 < 2) ^ (y % 4 < 2), 1, -1)[..., None]
    for number, (name, (load, top, left)) in enumerate(PHOTOS.items()):
        clean = load()[top : top + SIDE, left : left + SIDE]
        small = cv2.resize(
            cv2.GaussianBlur(clean, (0, 0), 1.2), (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA
        )
        packed = io.BytesIO()
        Image.fromarray(small).save(packed, "JPEG", quality=60)
        lq = np.asarray(Image.open(packed))
        plain = cv2.resize(lq, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(float)
        noise = np.random.default_rng(number).normal(0, 6, plain.shape)
        made = {
            "hq": clean,
            "lq": lq,
            "plain": plain,
            "sharpened": plain + 2.5 * (plain - cv2.GaussianBlur(plain, (0, 0), 2)),
            "gridded": plain + grid,
            "noisy": plain + noise,
            "better": 0.5 * plain + 0.5 * clean,
        }
        for run, picture in made.items():
            (folder / run).mkdir(exist_ok=True)
            levels = np.clip(np.round(picture), 0, 255).astype(np.uint8)
            Image.fromarray(levels).save(folder / run / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def report(runs: Path) -> Callable[[str], Report]:
    """The report of a run with reference and LQ, measured once; of the sharpened one without the slow networks."""

    @cache
    def measured(run: str) -> Report:
        matches = match_samples(runs / run, runs / "hq", runs / "lq")
        metrics = WITHOUT_NETWORKS if run == "sharpened" else METRICS
        return evaluate(matches, Ways(metrics), lambda: None).report()

    return measured


@pytest.fixture
def told(report: Callable[[str], Report]) -> Callable[..., str]:
    """What is suspicious about a run that follows on `plain`, by the metrics that are left."""

    def of(run: str, *metrics: str) -> str:
        later, earlier = (only(report(name), metrics or METRICS) for name in (run, "plain"))
        return "\n".join(judged(later, Path("plain"), earlier)["alarms"])

    return of


def only(report: Report, metrics: tuple[str, ...]) -> Report:
    """The report as it would be without the other metrics, and without the row of the LQ."""
    kept = [identity for identity in report["metrics"] if identity["metric"] in metrics]
    pictures = {
        name: picture
        | {"figures": {"restored": {key: picture["figures"]["restored"][key] for key in metrics}}}
        for name, picture in report["pictures"].items()
    }
    return report | {"metrics": kept, "pictures": pictures}


def test_sharpening_is_called_nicer_to_a_formula_and_further_from_the_picture(told):
    alarm = told("sharpened", "niqe", "brisque", "consistency")
    assert "niqe " in alarm
    assert "and brisque " in alarm
    assert " are better while consistency " in alarm
    assert "further from the picture; look at " in alarm
    assert set(alarm.rpartition("look at ")[2].split(", ")) == set(PHOTOS)


@pytest.mark.parametrize("metrics", [METRICS, ("brisque", "consistency")])
def test_noise_is_told_though_lpips_on_alexnet_likes_it_better_than_blur(told, report, metrics):
    means = [report(run)["means"]["restored"]["lpips"] for run in ("plain", "noisy")]
    assert means[1] < means[0]
    alarm = told("noisy", *metrics)
    assert "brisque " in alarm
    assert "is better while" in alarm
    assert "consistency " in alarm


def test_a_grid_that_one_backbone_likes_is_told_by_its_period_and_by_the_other_backbone(told):
    alarm = told("gridded")
    assert "a grid of a few pixels stands in 2 of 2 pictures" in alarm
    assert alarm.count("levels every 4 px") == 2
    assert "is better while lpips_vgg " in alarm
    assert "the witnesses disagree" in alarm


def test_a_true_improvement_and_no_change_raise_no_alarm(told, report):
    before, after = (report(run)["means"]["restored"]["consistency"] for run in ("plain", "better"))
    assert after < before  # the LQ's own blocks are in `plain`
    assert told("better") == told("plain") == ""


def change(before: float, after: float, interval: tuple[float, float] | None) -> PairedChange:
    return PairedChange(before, after, interval, 0.01, 0.01, 1, 0, 0, [("a", before, after)])


IDENTITIES = {
    name: {"better": "higher" if name == "consistency" else "lower"}
    for name in ("niqe", "lpips", "dists", "consistency")
}


def test_what_chance_may_have_done_is_no_alarm_and_a_single_picture_counts_by_its_sign():
    better, worse = change(5, 4, (-1.5, -0.5)), change(0.2, 0.3, (0.05, 0.15))
    unclear = change(0.2, 0.21, (-0.02, 0.04))
    consistent = {"identities": IDENTITIES, "judges_consistency": True}
    assert len(alarms({"niqe": better, "lpips": worse}, **consistent)) == 1
    assert alarms({"niqe": better, "lpips": unclear}, **consistent) == []
    assert alarms({"niqe": unclear, "lpips": worse}, **consistent) == []
    assert len(alarms({"niqe": change(5, 4, None), "lpips": change(0.2, 0.3, None)}, **consistent)) == 1


def test_less_consistency_is_no_alarm_where_a_reference_says_that_it_is_nearer_or_one_side_is_the_lq():
    better, less = change(5, 4, (-1.5, -0.5)), change(40, 35, (-6, -4))
    nearer = change(0.4, 0.2, (-0.3, -0.1))  # one witness is not enough
    assert len(alarms({"niqe": better, "consistency": less}, IDENTITIES, judges_consistency=True)) == 1
    assert alarms({"niqe": better, "consistency": less}, IDENTITIES, judges_consistency=False) == []
    changes = {"niqe": better, "consistency": less, "lpips": nearer}
    assert len(alarms(changes, IDENTITIES, judges_consistency=True)) == 1
    assert alarms(changes | {"dists": nearer}, IDENTITIES, judges_consistency=True) == []
