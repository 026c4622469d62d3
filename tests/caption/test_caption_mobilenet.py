"""MobileNetV2 without torch beside torchvision's own: the same pixels, the same probabilities, the same refusals."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_caption.config import TagsConfig
from supir_caption.mobilenet import MobileNet, class_names, middle_square
from supir_caption.resizing import resized
from supir_caption.tags_engine import TagsEngine, find_weights
from supir_caption.torch_file import read_tensors
from supir_console import UserError

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

Photo = Callable[[str], Image.Image]
WEIGHTS = models.MobileNet_V2_Weights.IMAGENET1K_V1
SIZES = [(600, 400), (31, 1500), (1503, 801), (256, 256), (224, 900), (40, 33), (999, 1000)]


@pytest.fixture(scope="module")
def network():
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(find_weights(None), weights_only=True))
    return network.eval()


@pytest.mark.parametrize("size", SIZES)
def test_the_middle_square_is_torchvisions(photo: Photo, size: tuple[int, int]):
    image = photo("astronaut").resize(size)
    transform = WEIGHTS.transforms()
    mean, std = (np.array(values) for values in (transform.mean, transform.std))
    theirs = np.rint((transform(image).numpy().transpose(1, 2, 0) * std + mean) * 255)
    ours = middle_square(np.asarray(image))
    if max(size) <= 16 * min(size):
        assert np.array_equal(ours, theirs)
    else:  # the far ends are left out, which moves the grid of the reduction by a part of a pixel
        assert np.abs(ours - theirs).mean() < 2


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "astronaut"])
def test_the_probabilities_are_torchs(network, photo: Photo, name: str):
    image = photo(name)
    with torch.inference_mode():
        theirs = network(WEIGHTS.transforms()(image)[None]).softmax(1)[0].numpy()
    ours = MobileNet(find_weights(None)).probabilities(middle_square(np.asarray(image)))
    assert theirs.max() > 0.1
    assert np.abs(ours - theirs).max() < 1e-4
    assert ours.sum() == pytest.approx(1, abs=1e-5)


def test_the_names_are_torchvisions():
    assert class_names() == WEIGHTS.meta["categories"]


@pytest.mark.parametrize(("size", "columns"), [((93, 41), slice(None)), ((700, 500), slice(100, 324))])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_picture_resized_in_strips_is_that_of_pillow(photo: Photo, size, columns, resample):
    image = photo("coffee")
    whole = np.asarray(image.resize(size, Image.Resampling[resample.upper()]))
    assert np.array_equal(resized(np.asarray(image), size, resample, columns=columns), whole[:, columns])
    turned = np.asarray(image)[::-1, ::-1]  # a view, as of a photo that EXIF turns
    assert np.array_equal(
        resized(turned, size, resample),
        np.asarray(Image.fromarray(turned.copy()).resize(size, Image.Resampling[resample.upper()])),
    )


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_torch_file_of_either_form_is_read(network, tmp_path: Path, is_zip: bool):
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    read = read_tensors(path)
    expected = network.state_dict()
    assert read.keys() == expected.keys()
    assert all(np.array_equal(read[name], expected[name].numpy()) for name in expected)
    assert TagsEngine(TagsConfig(weights=path)).model.startswith("tags: mobilenet_v2")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"PK no zip", pickle.dumps([1]), pickle.dumps(OrderedDict())]
)
def test_a_file_of_no_weights_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)
    assert find_weights(tmp_path / "w.pth") == tmp_path / "w.pth"
    with pytest.raises(
        UserError, match=r"w.pth is no state dict of MobileNetV2 .*; give mobilenet_v2-b0353104.pth"
    ):
        TagsEngine(TagsConfig(weights=tmp_path / "w.pth"))


class _Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_zip: bool):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": _Harmful()}, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match="mkdir is no part of a tensor"):
        read_tensors(tmp_path / "w.pth")
    assert not (tmp_path / "harm").exists()


def test_weights_of_another_network_are_refused_by_the_tensor(network, tmp_path: Path):
    state = dict(network.state_dict())
    for change, words in (
        (
            {"features.0.0.weight": torch.zeros(32, 3, 5, 5)},
            r"features.0.0.weight is float32 \(32, 3, 5, 5\)",
        ),
        ({"head.weight": torch.zeros(3)}, "head.weight is no tensor of it"),
    ):
        torch.save({**state, **change}, tmp_path / "w.pth")
        with pytest.raises(UserError, match=words):
            MobileNet(tmp_path / "w.pth")
    del state["classifier.1.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"it holds no classifier\.1\.bias"):
        MobileNet(tmp_path / "w.pth")
    cut = find_weights(None).read_bytes()[:-1000]
    (tmp_path / "w.pth").write_bytes(cut)
    with pytest.raises(UserError, match="is no state dict of MobileNetV2"):
        MobileNet(tmp_path / "w.pth")
