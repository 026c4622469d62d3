"""Saved models that lack or garble something are refused by name, never filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_model import load_supir
from supir_model.errors import ModelFileError


@pytest.fixture
def saved_tiny(tmp_path: Path) -> Path:
    load_supir(preset="tiny").save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize("part", ["unet", "control", "connectors", "vae", "text_encoder", "text_encoder_2"])
def test_a_part_that_lacks_a_tensor_is_refused_and_not_filled_with_random_numbers(
    part: str, saved_tiny: Path
):
    (file,) = (saved_tiny / part).glob("*.safetensors")
    tensors = load_file(file)
    gone = sorted(tensors)[-1]
    save_file(
        {name: value for name, value in tensors.items() if name != gone}, file, metadata={"format": "pt"}
    )
    with pytest.raises(
        ModelFileError, match=rf"/{part} does not fit its config\.json: 1 tensors missing, first"
    ):
        load_supir(saved_tiny)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "robust_encoder"])
def test_a_truncated_file_is_named(part: str, saved_tiny: Path):
    (file,) = (saved_tiny / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=f"/{part}/.* is no complete safetensors file"):
        load_supir(saved_tiny)


@pytest.mark.parametrize("part", ["unet", "vae", "connectors", "text_encoder_2"])
@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda config, _: config.unlink(), "has no config.json; write or download it again"),
        (lambda config, _: config.write_text("[]"), "config.json describes no model"),
        (lambda _, weights: weights.unlink(), r"has no weights \(.safetensors\); write or download it again"),
        (lambda _, weights: misshape(weights), "1 tensors mismatched, first"),
    ],
)
def test_a_damaged_part_is_named_in_our_words(damage, text, part: str, saved_tiny: Path):
    (weights,) = (saved_tiny / part).glob("*.safetensors")
    damage(saved_tiny / part / "config.json", weights)
    with pytest.raises((ModelFileError, FileNotFoundError), match=f"/{part}.*{text}"):
        load_supir(saved_tiny)


def misshape(file: Path) -> None:
    tensors = load_file(file)
    name = sorted(tensors)[-1]
    save_file(tensors | {name: torch.zeros(7)}, file, metadata={"format": "pt"})


def test_a_tokenizer_that_lost_its_vocabulary_is_refused(saved_tiny: Path):
    file = saved_tiny / "tokenizer" / "tokenizer.json"
    whole = file.read_text()
    file.write_text(whole[:1000])
    with pytest.raises(ModelFileError, match="/tokenizer is damaged"):
        load_supir(saved_tiny)
    tokenizer = json.loads(whole)
    tokenizer["model"] |= {"vocab": {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2}, "merges": []}
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelFileError, match=r"/tokenizer has \d+ tokens, the text encoder 4096"):
        load_supir(saved_tiny)
    file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has neither tokenizer\.json nor vocab\.json and merges\.txt"
    ):
        load_supir(saved_tiny)


def test_options_of_a_fresh_adapter_are_refused_beside_a_saved_one(saved_tiny: Path):
    with pytest.raises(
        ValueError, match=r"connector='zero_conv' shape a fresh adapter, and .*tiny holds one"
    ):
        load_supir(saved_tiny, connector="zero_conv")


def test_a_robust_encoder_that_lacks_a_tensor_is_named(saved_tiny: Path):
    (file,) = (saved_tiny / "robust_encoder").glob("*.safetensors")
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file)
    with pytest.raises(ModelFileError, match="does not fit its VAE: Missing key"):
        load_supir(saved_tiny)


def test_a_broken_config_is_named(saved_tiny: Path):
    (saved_tiny / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json is no JSON"):
        load_supir(saved_tiny)


def test_a_download_of_the_half_precision_files_alone_opens(saved_tiny: Path):
    for part in ("unet", "vae", "control", "connectors", "text_encoder", "text_encoder_2"):
        (file,) = (saved_tiny / part).glob("*.safetensors")
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    original = load_supir(preset="tiny")
    assert torch.equal(load_supir(saved_tiny).unet.conv_in.weight, original.unet.conv_in.weight)
