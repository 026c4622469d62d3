"""The scripts that moved weights of `mini` between its runs: a mean of models, and latents of another spread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from supir_console import UserError
from supir_degrade import load_recipe
from supir_model import Supir, load_supir

sys.path.insert(0, str(Path(__file__).parents[2] / "train" / "mini"))
import average
import recipe_of
import spread


@pytest.fixture
def photos() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand((6, 3, 8, 8), generator=random) * 2 - 1
    fine = torch.randn((6, 3, 64, 64), generator=random) * 0.05
    images = torch.nn.functional.interpolate(coarse, 64, mode="bilinear") + fine
    return list(images.clamp(-1, 1).split(1))


def _deviations(supir: Supir, photos: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return supir.encode(torch.cat(photos)).std(dim=(0, 2, 3))


def test_latents_take_their_spread_in_pixels_and_decode_to_the_same(photos: list[torch.Tensor]) -> None:
    supir = load_supir(preset="mini")
    with torch.no_grad():
        before = supir.decode(supir.encode(photos[0]))
        lq_before = supir.decode(supir.encode_lq(photos[0]))
    spread.spread(supir, photos, 0.0)
    assert torch.allclose(_deviations(supir, photos), torch.ones(64), atol=0.02)
    spread.spread(supir, photos, 1.0)
    moved = _deviations(supir, photos)
    assert moved.square().mean() == pytest.approx(1, abs=0.05)
    assert moved.max() > 5 * moved.median()
    with torch.no_grad():
        assert torch.allclose(supir.decode(supir.encode(photos[0])), before, atol=1e-4)
        assert torch.allclose(supir.decode(supir.encode_lq(photos[0])), lq_before, atol=1e-4)


def test_latents_of_another_autoencoder_are_refused(photos: list[torch.Tensor]) -> None:
    supir = load_supir(preset="mini")
    supir.vae = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UserError, match="only the latents of `mini`"):
        spread.spread(supir, photos, 1.0)


def test_mean_of_models_is_that_of_their_encoders_and_keeps_the_first_one_s_rest() -> None:
    first, second = load_supir(preset="mini"), load_supir(preset="mini", weights=None, seed=1)
    name, weight = next(iter(first.robust_encoder.state_dict().items()))
    asked = 0.25 * weight + 0.75 * second.robust_encoder.state_dict()[name]
    unet = {key: tensor.clone() for key, tensor in first.unet.state_dict().items()}
    mean = average.average((0.25, 0.75), (first, second))
    assert torch.allclose(mean.robust_encoder.state_dict()[name], asked)
    assert all(torch.equal(tensor, unet[key]) for key, tensor in mean.unet.state_dict().items())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("0.5=mini", "0.6=mini"), "add up to 1.1"),
        (("half=mini",), "type SHARE=MODEL"),
        (("mini",), "type SHARE=MODEL"),
        (("1=no-such-model",), "no-such-model"),
    ],
)
def test_a_mean_that_cannot_be_is_one_line(
    asked: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["average.py", str(tmp_path / "out"), *asked])
    with pytest.raises(SystemExit, match=says):
        average.main()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shares", "names"),
    [
        ({}, 7),
        ({"realesrgan": 0.0, "jpeg": 0.0, "noise": 0.0, "blur": 0.0, "reduced": 0.7, "reduced-jpeg": 0.3}, 3),
    ],
)
def test_a_recipe_of_other_shares_is_a_recipe(
    shares: dict[str, float], names: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "other.yaml"
    given = [f"{name}={share}" for name, share in shares.items()]
    monkeypatch.setattr(sys, "argv", ["recipe_of.py", str(out), "clean=0.02", "x4=1", "x2=0", "x1=0", *given])
    recipe_of.main()
    recipe = load_recipe(str(out))
    assert (recipe.clean_share, dict(recipe.scale)) == (0.02, {4: 1.0})
    (choice,) = recipe.steps
    assert len(choice.branches) == names


@pytest.mark.parametrize("asked", ["ruined=0.5", "light", "light=2", "light=much"])
def test_a_share_that_cannot_be_is_one_line(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe_of.py", str(tmp_path / "out.yaml"), asked])
    with pytest.raises(SystemExit, match="type NAME=SHARE"):
        recipe_of.main()
    assert not (tmp_path / "out.yaml").exists()
