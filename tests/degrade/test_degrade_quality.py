from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import laplace
from skimage import data

from supir_console import UserError
from supir_degrade.quality import LUMA, blockiness, load_score, sharpness
from supir_quality import MeasureMissing


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _filtered(image: np.ndarray, kind: ImageFilter.Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(kind))


def test_the_score_of_a_checkerboard_has_its_closed_form() -> None:
    # Each pixel ±10 with four opposite neighbours: the Laplacian is ±80, its variance 6400; steps are all 20.
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 20 + 118).astype(np.uint8)
    assert sharpness(board[..., None].repeat(3, axis=2)) == pytest.approx(np.log(6400 + 5 / 3), abs=1e-3)
    assert sharpness(np.full((32, 48, 3), 90, np.uint8)) == pytest.approx(np.log(5 / 3), abs=1e-6)


def test_blockiness_is_the_log_ratio_of_steps_on_and_off_the_grid() -> None:
    plane = np.repeat(np.repeat(np.arange(8) % 2 * 30.0, 8)[None], 64, axis=0).astype(np.float32)
    # Across the grid 30 in one direction, 0 in the other and everywhere between.
    assert blockiness(plane) == pytest.approx(np.log(31) / 2)
    assert blockiness(np.roll(plane, 3, axis=1)) == 0
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.float32)
    assert blockiness(smooth) == 0


def test_the_score_is_the_log_variance_of_scipys_laplacian_less_four_times_the_blockiness() -> None:
    plane = np.repeat(np.repeat(np.arange(8) % 2 * 30 + 40, 8)[None], 64, axis=0).astype(np.uint8)
    variance = laplace(plane.astype(float), mode="mirror").var()
    expected = np.log(variance + 5 / 3) - 4 * np.log(31) / 2
    assert sharpness(plane[..., None].repeat(3, axis=2)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea", "rocket"])
def test_blurred_smoothed_and_compressed_photos_score_below_their_source(photo: str) -> None:
    image = getattr(data, photo)()[:256, :256]
    source = sharpness(image)
    mild, strong = (sharpness(_filtered(image, ImageFilter.GaussianBlur(radius))) for radius in (1, 3))
    assert source > mild > strong
    assert sharpness(_filtered(image, ImageFilter.MedianFilter(5))) < source - 0.5
    assert sharpness(_jpeg(image, 10)) < sharpness(_jpeg(image, 40)) < source


def test_a_metric_of_pyiqa_is_taken_by_its_name() -> None:
    pyiqa = pytest.importorskip("pyiqa")
    image = data.astronaut()[:128, :128]
    # Entropy of the gray levels: higher is better, no weights.
    levels = np.rint(image.astype(np.float64) @ LUMA).astype(int)
    share = np.bincount(levels.ravel(), minlength=256) / levels.size
    expected = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert load_score("entropy")(image) == pytest.approx(expected, abs=0.05)
    assert pyiqa.create_metric("entropy").lower_better is False


def test_a_metric_that_is_better_when_lower_changes_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    pyiqa = pytest.importorskip("pyiqa")
    metric = pyiqa.create_metric("entropy", device="cpu")
    image = data.astronaut()[:64, :64]
    higher = load_score("entropy")(image)
    metric.lower_better = True
    monkeypatch.setattr(pyiqa, "create_metric", lambda name, device: metric)
    assert load_score("entropy")(image) == -higher


def test_what_is_no_score_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyiqa")
    with pytest.raises(UserError, match=r"score 'niqqe' cannot be loaded.*or score=sharpness"):
        load_score("niqqe")
    with pytest.raises(UserError, match="score 'psnr' needs a reference; use a no-reference metric"):
        load_score("psnr")
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MeasureMissing, match=r"score 'maniqa', .* needs pyiqa .*'supir-stack\[iqa\]'"):
        load_score("maniqa")


def test_niqe_is_our_own_and_higher_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    image = data.astronaut()[:256, :256]
    score = load_score("niqe")
    assert -8 < score(image) < -1
    assert score(image) > score(_filtered(image, ImageFilter.GaussianBlur(3))) + 1
