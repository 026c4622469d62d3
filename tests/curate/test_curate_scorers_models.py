"""Scorers whose weights come from a hub or a folder: their real code on small random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyiqa.archs.musiq_arch import MUSIQ
from torch import nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from supir_console import UserError
from supir_curate.scorers.classifier import ClassifierConfig
from supir_curate.scorers.clip import ClipConfig, folded_head
from supir_curate.scorers.iqa import IqaConfig
from supir_quality import MeasureMissing

Rgb = NDArray[np.uint8]
WIDTH = 32
TINY_CLIP = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**TINY_CLIP).state_dict(), folder / "open_clip_pytorch_model.bin")
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def test_clip_features_and_aesthetic_score_are_open_clips_and_the_heads(
    clip_folder: Path, photos: dict[str, Rgb], tmp_path: Path
) -> None:
    head = nn.Linear(WIDTH, 1)
    torch.save(head.state_dict(), tmp_path / "head.pth")
    config = ClipConfig(model=f"local-dir:{clip_folder}", aesthetic=tmp_path / "head.pth")
    scorer = config.load("aesthetic", "cpu", 1)
    (answer,) = scorer.answer([scorer.prepare(photos["coffee"])])
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    with torch.inference_mode():
        pixels = transform(Image.fromarray(photos["coffee"]))[None]
        features = nn.functional.normalize(model.eval().encode_image(pixels), dim=1)
        wanted = float(head(features))
    assert answer.embedding is not None
    assert scorer.width == WIDTH
    np.testing.assert_allclose(answer.embedding, features[0].numpy(), atol=1e-6)
    assert answer.scores == {"aesthetic": pytest.approx(wanted, abs=1e-5)}
    assert set(scorer.identity.weights) == {f"local-dir:{clip_folder}", "head.pth"}


def test_a_stack_of_linear_layers_is_one_linear_head(tmp_path: Path) -> None:
    stack = nn.Sequential(nn.Linear(WIDTH, 16), nn.Dropout(), nn.Linear(16, 8), nn.Dropout(), nn.Linear(8, 1))
    torch.save({f"layers.{name}": value for name, value in stack.state_dict().items()}, tmp_path / "mlp.pth")
    weight, bias = folded_head("a", tmp_path / "mlp.pth", WIDTH)
    features = torch.randn(5, WIDTH)
    torch.testing.assert_close(features @ weight.T + bias, stack.eval()(features), atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"no linear head for features of width 7"):
        folded_head("a", tmp_path / "mlp.pth", 7)


def test_clip_without_its_model_says_where_to_put_one(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"scorer c cannot load .*--set assess\.scorers\.c\.model=local-dir:FOLDER"
    ):
        ClipConfig(model=f"local-dir:{tmp_path}").load("c", "cpu", 1)
    with pytest.raises(UserError, match=r"cannot load ViT-B-32 nowhere"):
        ClipConfig(model="ViT-B-32", weights="nowhere").load("c", "cpu", 1)


def test_a_metric_of_pyiqa_runs_from_a_file_of_weights(photos: dict[str, Rgb], tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = MUSIQ(pretrained=False).eval()
    torch.save(network.state_dict(), tmp_path / "musiq.pth")
    scorer = IqaConfig(weights=tmp_path / "musiq.pth").load("musiq", "cpu", 1)
    photo = photos["chelsea"]
    (answer,) = scorer.answer([scorer.prepare(photo)])
    with torch.inference_mode():
        wanted = float(network(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255))
    assert answer.scores == {"musiq": pytest.approx(wanted, rel=1e-5)}
    assert set(scorer.identity.weights) == {"musiq", "musiq.pth"}


def test_without_pyiqa_its_metric_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MeasureMissing, match=r"scorer musiq.* needs pyiqa .*'supir-stack\[iqa\]'"):
        IqaConfig().load("musiq", "cpu", 1)


def test_a_metric_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pyiqa has no no-reference metric 'nique'; it has .*niqe"):
        IqaConfig().load("nique", "cpu", 1)
    torch.save({"run": Path}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"code\.pth is no file of torch tensors"):
        IqaConfig(weights=tmp_path / "code.pth").load("musiq", "cpu", 1)
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match=r"cannot load pyiqa's musiq \(RuntimeError: .*copy pyiqa's cache"):
        IqaConfig(weights=tmp_path / "empty.pth").load("musiq", "cpu", 1)


def test_a_classifier_from_a_folder_gives_the_probability_of_its_class(
    photos: dict[str, Rgb], tmp_path: Path
) -> None:
    torch.manual_seed(2)
    shape = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
    )
    shape.id2label = {0: "clean", 1: "watermark"}
    shape.label2id = {"clean": 0, "watermark": 1}
    model = ViTForImageClassification(shape).eval()
    model.save_pretrained(tmp_path)
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path)
    scorer = ClassifierConfig(model=str(tmp_path)).load("watermark", "cpu", 1)
    (answer,) = scorer.answer([scorer.prepare(photos["rocket"])])
    with torch.inference_mode():
        pixels = processor(Image.fromarray(photos["rocket"]), return_tensors="pt")
        wanted = float(model(**pixels).logits.softmax(dim=1)[0, 1])
    assert answer.scores == {"watermark": pytest.approx(wanted, abs=1e-6)}
    with pytest.raises(UserError, match=r"has no class 'logo' but clean, watermark"):
        ClassifierConfig(model=str(tmp_path), label="logo").load("logo", "cpu", 1)
    with pytest.raises(UserError, match=r"scorer w cannot load .*give a folder with config\.json"):
        ClassifierConfig(model=str(tmp_path / "none")).load("w", "cpu", 1)
