"""The strength map: shares of any picture, and the model's folder that holds it."""

from __future__ import annotations

import pytest
import torch

from supir_model import Supir, load_supir, strength_map
from supir_model.strength_map import StrengthMap


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return StrengthMap().eval()


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 67, 93) * 2 - 1, torch.rand(2, 3, 67, 93) * 2 - 1, torch.rand(2, 5)


@torch.no_grad()
def test_shares_are_those_of_the_whole_picture_however_it_is_cut(judge, pictures, monkeypatch):
    whole = judge(*pictures)
    assert whole.shape == (2, 1, 67, 93)
    assert 0 < whole.min() < whole.max() < 1
    monkeypatch.setattr(strength_map, "STRIP_BLOCKS", 2)
    assert torch.allclose(judge(*pictures), whole, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8), (9, 300)])
@torch.no_grad()
def test_pictures_may_have_any_size(judge, size):
    given = torch.rand(1, 3, *size)
    share = judge(given, given * 0.5, torch.zeros(1, 5))
    assert share.shape == (1, 1, *size)
    assert share.isfinite().all()


@torch.no_grad()
def test_a_share_depends_on_what_is_changed_there(judge):
    given = torch.rand(1, 3, 128, 256) * 2 - 1
    restored = given.clone()
    restored[..., :128] *= 0.1
    left, right = judge(given, restored, torch.zeros(1, 5))[0, 0, 64, [32, 224]]
    assert (left - right).abs() > 1e-3


def test_a_model_keeps_its_map_in_its_folder_in_float32(judge, tmp_path):
    supir = load_supir(preset="tiny", weights=None)
    assert supir.strength_map is None
    supir.save_pretrained(tmp_path / "without")
    supir.strength_map = judge
    assert set(supir.trainable("strength")) == {
        f"strength_map.{name}" for name, _ in judge.named_parameters()
    }
    supir.save_pretrained(tmp_path / "with", dtype=torch.float16)
    again = Supir.from_pretrained(tmp_path / "with", dtype=torch.bfloat16).strength_map
    for name, value in judge.state_dict().items():
        kept = again.state_dict()[name]
        assert kept.dtype == torch.float32
        assert torch.allclose(kept, value, atol=1e-3)
    assert Supir.from_pretrained(tmp_path / "without").strength_map is None
