from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import supir_model
from supir_console import UserError
from supir_degrade import RECIPES, Recipe, check_recipe, load_recipe
from supir_degrade.cli import app

VAE = "{do: vae, weights: /none}"
VIDEO = "{do: video, codec: h264, crf: [20, 30]}"
SHARES = "{do: shares, rounds: %s, photo_side_px: [512, 4096], caps_px: [1080], codecs: [{steps: [%s]}]}"
NO_WEIGHTS = "vae weights '/none': /none has no config.json"


def _write(folder: Path, step: str, clean_share: float = 0) -> Path:
    path = folder / "r.yaml"
    path.write_text(f"name: x\nclean_share: {clean_share}\nsteps: [{step}]", encoding="utf-8")
    return path


def _recipe(folder: Path, step: str, clean_share: float = 0) -> Recipe:
    return load_recipe(_write(folder, step, clean_share))


@pytest.mark.parametrize(
    "step",
    [
        VAE,
        f"{{do: one_of, branches: [{{steps: []}}, {{weight: 0.01, steps: [{VAE}]}}]}}",
        SHARES % ("[0, 1]", VAE),
        SHARES % ("[1, 1]", f"{{do: one_of, branches: [{{steps: [{VAE}]}}]}}"),
    ],
)
def test_weights_that_are_not_there_are_refused_at_any_depth(step: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=NO_WEIGHTS):
        check_recipe(_recipe(tmp_path, step))


@pytest.mark.parametrize(
    "step",
    [
        "{do: vae, weights: /none, probability: 0}",
        f"{{do: one_of, branches: [{{steps: []}}, {{weight: 0, steps: [{VAE}]}}]}}",
        f"{{do: one_of, probability: 0, branches: [{{steps: [{VAE}]}}]}}",
        SHARES % ("[0, 0]", VAE),
    ],
)
def test_a_step_that_never_happens_needs_nothing(step: str, tmp_path: Path) -> None:
    check_recipe(_recipe(tmp_path, step))
    check_recipe(_recipe(tmp_path, VAE, clean_share=1))


def test_pyav_is_needed_where_a_video_frame_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in RECIPES:
        check_recipe(load_recipe(name))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"video step needs PyAV .*pip install 'supir-stack\[degrade\]'"):
        check_recipe(load_recipe("web2026"))
    check_recipe(load_recipe("realesrgan"))
    check_recipe(_recipe(tmp_path, VIDEO.replace("}", ", probability: 0}")))


def test_weights_that_are_cut_off_or_of_another_network_are_refused(tmp_path: Path) -> None:
    source = Path(supir_model.__file__).parent / "weights/mini/vae"
    folder = shutil.copytree(source, tmp_path / "vae")
    recipe = _recipe(tmp_path, f"{{do: vae, weights: '{folder}'}}")
    check_recipe(recipe)
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"(?s)safetensors cannot be loaded: .*; download them again"):
        check_recipe(recipe)
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(UserError, match="is of class 'UNet2DModel', not AutoencoderKL or MiniVAE"):
        check_recipe(recipe)


@pytest.mark.parametrize(
    "arguments", [["pairs", "--count", "2", "--crop", "64"], ["pairs", "--dry-run"], ["preview"]]
)
def test_the_commands_refuse_before_anything_is_written(
    arguments: list[str], photos: Path, tmp_path: Path
) -> None:
    recipe = _write(tmp_path, "{do: vae, weights: /none, probability: 0.001}")
    out = tmp_path / "out.png"
    result = CliRunner().invoke(app, [*arguments, str(photos), "-o", str(out), "--recipe", str(recipe)])
    assert isinstance(result.exception, UserError)
    assert NO_WEIGHTS in str(result.exception)
    assert not out.exists()
