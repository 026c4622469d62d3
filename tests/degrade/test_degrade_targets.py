from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from supir_degrade import RECIPES, Trace, draw, load_recipe, replay, sample_generator
from supir_degrade.cli import app
from supir_degrade.targets import _transfer_table, estimate_targets
from supir_shards import Dataset, verify

HALF = math.sqrt(2 * math.log(2))
SIDE = 512


def _targets(*ops: dict) -> dict[str, float]:
    return estimate_targets(_trace(*ops))


def _trace(*ops: dict) -> Trace:
    return Trace.model_validate({"recipe": "x", "height": SIDE, "width": SIDE, "ops": ops})


def _blur(sigma_x: float, sigma_y: float, rotation: float = 0.0) -> dict:
    return {"op": "blur", "kernel": "aniso", "size": 41, "sigma_x": sigma_x, "sigma_y": sigma_y,
            "rotation": rotation}  # fmt: skip


def _resize(side: int, interpolation: str) -> dict:
    return {"op": "resize", "height": side, "width": side, "interpolation": interpolation}


@pytest.mark.parametrize(
    ("ops", "sigma_px"),
    [
        ([], 0),
        ([_blur(2, 2)], 2),
        ([_blur(0.8, 0.8)], 0.8),
        ([_blur(2, 2), _blur(1.5, 1.5)], 2.5),
        ([_blur(1, 3, 0.4)], math.sqrt(5)),
        ([{"op": "sinc", "size": 21, "cutoff": 1.2}], HALF / 1.2),
        # 2 J₁(ωr) / (ωr) is one half at ωr = 2.2151.
        ([{"op": "defocus", "radius_px": 6}], HALF / (2.2151 / 6)),
        ([_blur(3, 3), {"op": "sharpen", "weight": 2, "radius_px": 2, "threshold": 0}], 3),
        # A blur of 1 px at half the side is one of 2 px of the input.
        ([_blur(6, 6), _resize(256, "area"), _blur(4, 4), _resize(512, "bilinear")], 10.06),
    ],
)
def test_blur_has_its_closed_form(ops: list[dict], sigma_px: float) -> None:
    assert _targets(*ops)["target.blur_sigma_px"] == pytest.approx(sigma_px, rel=0.01, abs=1e-9)


def test_a_resampling_cuts_at_the_nyquist_frequency_of_the_smaller_size() -> None:
    # The cut is a square: the direction θ meets it at π/8 / max(|cos θ|, |sin θ|).
    angles = np.arange(8) * math.pi / 8
    reach = math.pi / 8 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    expected = math.sqrt(np.mean((HALF / reach) ** 2))
    whole = _trace(_resize(64, "bicubic"), _resize(512, "bicubic"))
    # The bicubic kernel of the enlargement passes more than half nearly up to there.
    assert expected < estimate_targets(whole)["target.blur_sigma_px"] < 1.35 * expected
    shrunk = whole.model_copy(update={"ops": whole.ops[:1]})
    assert estimate_targets(shrunk)["target.blur_sigma_px"] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    "ops",
    [
        [_blur(2, 2), {"op": "defocus", "radius_px": 3}],
        [_blur(1.5, 1.5), _resize(256, "area"), _blur(1.2, 1.2), _resize(512, "bicubic")],
        [_resize(171, "area"), _resize(512, "bilinear")],
        [_blur(3, 3), _resize(300, "bilinear"), {"op": "defocus", "radius_px": 2}, _resize(512, "bicubic")],
    ],
)
def test_a_rendered_wave_keeps_half_its_contrast_where_the_target_says(ops: list[dict]) -> None:
    # Where the transfer is the same in all directions, its half lies at HALF / sigma.
    along = np.mean([HALF / _targets(*ops)["target.blur_sigma_px"]])
    phases = np.arange(SIDE) * along
    wave = np.rint(127.5 + 100 * np.sin(phases)).astype(np.uint8)
    picture = np.broadcast_to(wave[None, :, None], (SIDE, SIDE, 3)).copy()
    got = replay(picture, _trace(*ops))[SIDE // 2, 64:-64, 0].astype(float)
    basis = np.stack([np.sin(phases), np.cos(phases), np.ones(SIDE)])[:, 64:-64].T
    sine, cosine, _ = np.linalg.lstsq(basis, got, rcond=None)[0]
    assert math.hypot(sine, cosine) / 100 == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("interpolation", "number"), [("bicubic", cv2.INTER_CUBIC), ("lanczos", cv2.INTER_LANCZOS4)]
)
def test_the_transfer_of_an_enlargement_is_that_of_opencvs_kernel(interpolation: str, number: int) -> None:
    impulse = np.zeros((1, 17))
    impulse[0, 8] = 1
    kernel = cv2.resize(impulse, (17 * 64, 1), interpolation=number)[0]
    t = (np.arange(kernel.size) + 0.5) / 64 - 8.5
    omega, transfer = _transfer_table(interpolation)
    # OpenCV brings the eight weights of Lanczos to a sum of one at each phase.
    np.testing.assert_allclose(transfer[::64], np.cos(omega[::64, None] * t) @ kernel / 64, atol=2e-3)


def test_noise_adds_in_quadrature_and_poisson_counts_as_at_middle_gray() -> None:
    gaussian = [{"op": "gaussian_noise", "sigma": sigma, "gray": False, "seed": 1} for sigma in (6, 8)]
    assert _targets(*gaussian)["target.noise_sigma"] == pytest.approx(10)
    poisson = {"op": "poisson_noise", "scale": 0.5, "gray": False, "seed": 3}
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8).repeat(2)[None, :, None], (512, 512, 3)).copy()
    noise = replay(ramp, _trace(poisson)).astype(float) - ramp
    measured = noise[:, 240:272].std()
    assert _targets(poisson)["target.noise_sigma"] == pytest.approx(measured, rel=0.02)


def test_quality_is_the_lowest_of_the_jpegs() -> None:
    got = _targets({"op": "jpeg", "quality": 70}, {"op": "jpeg", "quality": 41},
                   {"op": "webp", "quality": 20, "method": 0})  # fmt: skip
    assert got["target.jpeg_quality"] == 41
    assert _targets() == {
        "target.blur_sigma_px": 0,
        "target.noise_sigma": 0,
        "target.jpeg_quality": 100,
        "target.scale": 1,
    }


@pytest.mark.parametrize(
    ("ops", "scale"),
    [
        ([_resize(128, "area"), _resize(256, "area"), _resize(512, "bicubic")], 2),
        ([_resize(128, "area"), _resize(512, "area"), _blur(1, 1)], 4),
        ([_resize(154, "area"), _resize(512, "bicubic"), {"op": "jpeg", "quality": 70}], 512 / 154),
        ([_resize(128, "area"), _resize(512, "bicubic"),
          {"op": "sharpen", "weight": 1, "radius_px": 2, "threshold": 0}], 4),
        # Made larger than the input and small again: what was last enlarged was the whole input.
        ([_resize(700, "bicubic"), _resize(512, "area")], 1),
        ([_resize(128, "area"), _resize(512, "area"), _resize(700, "area"), _resize(512, "area")], 1),
    ],
)  # fmt: skip
def test_scale_is_that_of_the_last_enlargement_whatever_follows_it(ops: list[dict], scale: float) -> None:
    assert _targets(*ops)["target.scale"] == pytest.approx(scale)


@pytest.mark.parametrize("name", RECIPES)
def test_every_drawn_trace_has_finite_targets_and_the_recipes_scale(name: str) -> None:
    recipe = load_recipe(name, ["clean_share=0"])
    for number in range(15):
        trace = draw(recipe, (SIDE, SIDE), sample_generator(0, "k", number))
        got = estimate_targets(trace)
        assert all(math.isfinite(value) and value >= 0 for value in got.values())
        if name != "web2026" and trace.ops[-1].op == "resize":
            assert any(got["target.scale"] == pytest.approx(scale, rel=0.01) for scale in (1, 2, 4)) or (
                trace.ops[-2].op == "jpeg"  # scale 1, brought to the output's size as the last step
            )


def test_pairs_writes_the_targets_of_each_trace_into_the_index_rows(photos: Path, tmp_path: Path) -> None:
    arguments = ["pairs", str(photos), "--count", "5", "--crop", "64"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a"), "--estimate-targets"])
    assert done.exit_code == 0, done.output
    lq = Dataset(tmp_path / "a/lq")
    traces = {r.key: Trace.from_json(r.trace) for r in lq.samples()}
    rows = [row for part in lq.parts() for row in lq.index(part).to_pylist()]
    assert {row["key"]: {score["name"]: score["value"] for score in row["scores"]} for row in rows} == {
        key: estimate_targets(trace) for key, trace in traces.items()
    }
    assert all(record.scores == {} for record in Dataset(tmp_path / "a/hq").samples())
    assert verify(tmp_path / "a/lq") == []
    # Without the flag the pictures are the same and the columns are empty.
    CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "b")])
    plain = {record.key: record for record in Dataset(tmp_path / "b/lq").samples()}
    assert all(plain[record.key].image == record.image for record in lq.samples())
    assert all(record.scores == {} for record in plain.values())
