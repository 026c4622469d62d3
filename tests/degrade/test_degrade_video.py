from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from supir_console import UserError
from supir_degrade import Recipe, Trace, degrade, draw, load_recipe, replay, sample_generator
from supir_degrade.preview import label
from supir_degrade.strength import weaken
from supir_degrade.targets import estimate_targets
from supir_degrade.video import _to_yuv, video_frame

CODECS = ("h264", "h265")
MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
BOTH = [(codec, matrix) for codec in CODECS for matrix in MATRICES]


def _through(image: np.ndarray, codec: str = "h264", crf: int = 18, matrix: str = "bt709") -> np.ndarray:
    return video_frame(image, codec=codec, crf=crf, preset="ultrafast", matrix=matrix)


def _recipe(folder: Path, step: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(f"name: x\nsteps: [{step}]", encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize(("codec", "matrix"), BOTH)
def test_gray_stays_gray_and_flat_colours_return(codec: str, matrix: str) -> None:
    for level in (0, 1, 90, 128, 200, 255):
        got = _through(np.full((32, 48, 3), level / 255, np.float32), codec, 12, matrix) * 255
        assert np.ptp(got, axis=-1).max() == 0
        assert np.abs(got - level).max() <= 1.01
    colours = np.random.default_rng(0).random((12, 3), dtype=np.float32)
    patches = np.repeat(np.repeat(colours.reshape(3, 4, 3), 32, axis=0), 32, axis=1)
    change = (_through(patches, codec, 12, matrix) - patches)[16::32, 16::32] * 255
    assert np.abs(change).max() < 4
    assert np.abs(change.mean()) < 0.5  # plain libswscale darkens by 1.3


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_frame_has_the_matrix_of_its_standard(matrix: str) -> None:
    red, blue = MATRICES[matrix]
    colour = np.array([200, 30, 90], np.uint8)
    frame = _to_yuv(np.broadcast_to(colour, (16, 16, 3)).copy(), matrix).to_ndarray()
    luma = red * 200 + (1 - red - blue) * 30 + blue * 90
    expected = (
        16 + 219 / 255 * luma,
        128 + 224 / 255 * (90 - luma) / (2 * (1 - blue)),
        128 + 224 / 255 * (200 - luma) / (2 * (1 - red)),
    )
    np.testing.assert_allclose([frame[0, 0], frame[16, 0], frame[20, 0]], expected, atol=0.55)


@pytest.mark.parametrize("codec", CODECS)
def test_a_quantiser_step_doubles_every_six_crf(codec: str) -> None:
    # The law of both standards. Noise spends every coefficient, so its error follows the step.
    noise = np.random.default_rng(0).normal(0.5, 0.2, (128, 128, 1)).clip(0, 1).astype(np.float32)
    image = np.repeat(noise, 3, axis=2)
    errors = [float(np.std(_through(image, codec, crf) - image)) for crf in (16, 22, 28)]
    assert errors[1] / errors[0] == pytest.approx(2, rel=0.15)
    assert errors[2] / errors[1] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (37, 21), (64, 50)])
def test_any_size_comes_back_in_place(codec: str, size: tuple[int, int], astronaut: np.ndarray) -> None:
    image = astronaut[40 : 40 + size[0], 200 : 200 + size[1]].astype(np.float32) / 255
    got = _through(image, codec, 8)
    assert got.shape == image.shape
    assert got.dtype == np.float32
    assert np.abs(got.mean(axis=-1) - image.mean(axis=-1)).max() < 12 / 255
    # What fills the frame up does not bleed in.
    assert np.ptp(_through(np.full((*size, 3), 0.75, np.float32), codec, 40)) == 0


IN_ANOTHER_PROCESS = """
import hashlib, sys, numpy, skimage.data
from supir_degrade import Trace, replay
print(hashlib.sha256(replay(skimage.data.astronaut()[:101, :203], Trace.from_json(sys.argv[1]))).hexdigest())
"""


@pytest.mark.parametrize("codec", CODECS)
def test_a_trace_replays_to_the_same_bytes_in_another_process(
    codec: str, astronaut: np.ndarray, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path, f"{{do: video, codec: {codec}, crf: [30, 40], matrices: {{bt601: 1}}}}")
    crop = astronaut[:101, :203].copy()
    lq, trace = degrade(crop, recipe, sample_generator(0, "k", 0))
    assert (replay(crop, Trace.from_json(trace.to_json())) == lq).all()
    other = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, trace.to_json()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "3"},
    )
    assert other.stdout.strip() == hashlib.sha256(lq).hexdigest()


def test_crf_is_even_over_its_range_and_matrices_have_their_shares(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, "{do: video, codec: h264, crf: [18, 36], matrices: {bt709: 0.7, bt601: 0.3}}")
    drawn = [draw(recipe, (64, 64), sample_generator(0, "k", number)).ops[0] for number in range(4000)]
    counts = Counter(op.crf for op in drawn)
    assert set(counts) == set(range(18, 37))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4
    assert stats.binomtest(sum(op.matrix == "bt601" for op in drawn), 4000, 0.3).pvalue > 1e-4
    halves = [
        draw(weaken(recipe, 0.5), (64, 64), sample_generator(0, "k", number)).ops[0] for number in range(99)
    ]
    assert {op.crf for op in halves} <= set(range(18, 28))


def test_one_platform_in_twenty_of_web2026_gives_a_video_frame() -> None:
    recipe = load_recipe("web2026", ["clean_share=0"])
    codecs: Counter[str] = Counter()
    for number in range(2000):
        trace = draw(recipe, (512, 512), sample_generator(2, "k", number))
        codecs.update(op.codec if op.op == "video" else op.op for op in trace.ops)
    # The first JPEG is the camera's, in nine samples of ten.
    platforms = sum(codecs[name] for name in ("jpeg", "webp", "avif", "h264", "h265")) - round(0.9 * 2000)
    assert stats.binomtest(codecs["h264"], platforms, 0.04).pvalue > 1e-4
    assert stats.binomtest(codecs["h265"], platforms, 0.01).pvalue > 1e-4


def test_a_video_frame_has_its_label_and_is_no_target() -> None:
    op = {"op": "video", "codec": "h265", "crf": 31, "preset": "fast", "matrix": "bt601"}
    trace = Trace.model_validate({"recipe": "x", "height": 64, "width": 64, "ops": [op]})
    assert label(trace) == "h265 crf31 bt601"
    assert list(estimate_targets(trace).values()) == [0, 0, 100, 1]


def test_without_pyav_the_step_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"video step needs PyAV .*pip install 'supir-stack\[degrade\]'"):
        _through(np.zeros((16, 16, 3), np.float32))
