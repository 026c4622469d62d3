"""Which model a command line means: its identity, its settings, and what it says about files that do not serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from supir_infer.cli import main
from supir_infer.model_source import resolve_model
from supir_infer.saving import read_metadata

QUICK = ("--steps", 1, "--min-size", 64, "--set", "snap_px=64")


def restored(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_a_base_with_an_official_checkpoint_restores_as_the_same_model_in_a_folder(
    command, photos, tmp_path, official, sdxl_folder
):
    face, out = photos / "face.png", tmp_path / "out"
    files = ("--base", official.base, "--checkpoint", official.checkpoint)
    parts = ("--base", sdxl_folder, "--checkpoint", official.checkpoint)
    for name, model in (("files", files), ("parts", parts), ("folder", ("--model", sdxl_folder))):
        ended = command(main, face, "-o", out / name, *model, *QUICK)
        assert ended.code == 0, ended.err
    found = {name: read_metadata(out / name / "face.png") for name in ("files", "parts", "folder")}
    assert found["files"]["model"] == "sd_xl_small.safetensors+SUPIR-v0S.ckpt"
    assert len({metadata["model_sha256"] for metadata in found.values()}) == 3
    assert found["files"]["settings"]["size_condition"] == 1024  # of the preset for SDXL
    for name in ("parts", "folder"):
        difference = np.abs(restored(out / name / "face.png") - restored(out / "files" / "face.png"))
        assert difference.max() <= 1


def test_the_hash_changes_with_either_file_and_not_with_its_name(official, tmp_path):
    before = resolve_model(None, official.base, official.checkpoint).sha256()
    shutil.copy(official.base, tmp_path / "renamed.safetensors")
    shutil.copy(official.checkpoint, tmp_path / "renamed.ckpt")
    copies = (tmp_path / "renamed.safetensors", tmp_path / "renamed.ckpt")
    assert resolve_model(None, *copies).sha256() == before
    hashes = {before}
    for path in copies:
        with path.open("ab") as stream:
            stream.write(b"0")
        hashes.add(resolve_model(None, *copies).sha256())
    assert len(hashes) == 3


def test_the_hash_of_a_folder_is_over_what_is_loaded_and_nothing_else(sdxl_folder, tmp_path, official):
    folder = tmp_path / "copy"
    shutil.copytree(sdxl_folder, folder)
    whole = resolve_model(str(folder))
    base = resolve_model(None, folder, official.checkpoint)
    before = (whole.sha256(), base.sha256())
    (folder / "model_index.json").write_text("{}")
    (folder / "training").mkdir()
    (folder / "training" / "state.safetensors").write_bytes(b"1")
    assert (whole.sha256(), base.sha256()) == before
    weights = folder / "connectors" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    assert whole.sha256() != before[0]
    assert base.sha256() == before[1]
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"older format")
    assert base.sha256() != before[1]


def test_the_settings_fit_the_model_unless_told_otherwise(command, official, sdxl_folder, tmp_path):
    def tile(*options: object) -> str:
        printed = command(main, *options, "--print-config")
        assert printed.code == 0, printed.err
        return next(line for line in printed.out.splitlines() if line.startswith("tile_px"))

    files = ("--base", official.base, "--checkpoint", official.checkpoint)
    (tmp_path / "part.yaml").write_text("steps: 7\n")
    assert tile() == "tile_px: 512"
    assert tile("--model", "tiny") == "tile_px: 512"
    assert tile("--model", sdxl_folder) == "tile_px: 1024"
    assert tile(*files) == "tile_px: 1024"
    assert tile(*files, "--preset", "mini") == "tile_px: 512"
    assert tile("--model", sdxl_folder, "--config", tmp_path / "part.yaml") == "tile_px: 1024"
    assert tile("--preset", "quality", "--config", tmp_path / "part.yaml", "--tile", 768) == "tile_px: 768"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--base", "BASE"), "alone restores nothing: give both --base (SDXL, a folder or a file) and"),
        (("--checkpoint", "CHECKPOINT"), "SUPIR-v0S.ckpt alone restores nothing: give both --base"),
        (
            ("--model", "mini", "--base", "BASE", "--checkpoint", "CHECKPOINT"),
            "--model mini is a whole model; leave it out beside --base and --checkpoint",
        ),
        (("--base", "none", "--checkpoint", "CHECKPOINT"), "--base none does not exist; give a diffusers"),
        (("--base", "BASE", "--checkpoint", "none.ckpt"), "--checkpoint none.ckpt is no file; give a SUPIR"),
        (("--base", "BASE", "--checkpoint", "BASE"), "holds no SUPIR control encoder"),
        (("--base", "CHECKPOINT", "--checkpoint", "CHECKPOINT"), "is no SDXL checkpoint: no tensor"),
        (("--base", "BASE", "--checkpoint", "CUT"), "cut.ckpt) cannot be loaded: "),
        (("--base", "CUT", "--checkpoint", "CHECKPOINT"), "the model cut.ckpt+SUPIR-v0S.ckpt ("),
        (("--base", "EMPTY", "--checkpoint", "CHECKPOINT"), "is no model: neither a file nor a folder with"),
        (("--model", "BASE"), "or an SDXL base with --base"),
        (
            ("--model", "EMPTY"),
            "holds no SUPIR model (no config.json of one); give a folder written by supir-train",
        ),
    ],
)
def test_model_options_that_do_not_serve_are_one_line(command, photos, tmp_path, official, options, words):
    (tmp_path / "cut.ckpt").write_bytes(official.checkpoint.read_bytes()[:50_000])
    (tmp_path / "empty").mkdir()
    paths = {
        "BASE": official.base,
        "CHECKPOINT": official.checkpoint,
        "CUT": tmp_path / "cut.ckpt",
        "EMPTY": tmp_path / "empty",
    }
    line = [paths.get(option, option) for option in options]
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, *line)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert words in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("unet/diffusion_pytorch_model.safetensors", None),
        ("connectors/diffusion_pytorch_model.safetensors", None),
        ("robust_encoder/diffusion_pytorch_model.safetensors", None),
        ("text_encoder/model.safetensors", None),
        ("unet/config.json", b"{"),
        ("unet/config.json", b"[1]"),
        ("control/config.json", b'{"block_out_channels": "many"}'),
        ("vae/config.json", b"[]"),
        ("text_encoder/config.json", b"nothing"),
        ("tokenizer/tokenizer.json", b"{}"),
        ("tokenizer/tokenizer.json", b"{"),
        ("tokenizer/tokenizer_config.json", b"["),
        ("config.json", b"[]"),
    ],
)
def test_a_damaged_model_folder_is_one_line(command, photos, tmp_path, model_folder, part, content):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / part).write_bytes((folder / part).read_bytes()[:3000] if content is None else content)
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--model", folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert ended.err.startswith("error: ")


def test_a_model_larger_than_the_device_is_one_line(command, photos, tmp_path, monkeypatch):
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("supir_model.load.load_supir", too_large)
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--model", "tiny")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "the model tiny does not fit into the memory of cpu; use --dtype bfloat16" in ended.err


def test_print_config_needs_nothing_else_and_a_run_says_what_is_missing(command, photos):
    assert "steps: 1" in command(main, "--print-config").out
    ended = command(main, photos, "--model", "tiny")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "-o is missing; type: supir-infer INPUT -o OUT" in ended.err
    assert "INPUT is missing" in command(main, "-o", "out").err
