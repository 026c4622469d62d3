"""A LoRA made here changes the prior by exactly W + scale · B A · alpha / rank, in both file formats."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from supir_model import load_supir
from supir_model.errors import ModelFileError
from supir_model.lora import fuse_lora

RANK, ALPHA = 4, 2.0
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
STEMS = {
    "diffusers": (f"unet.{LAYER}", ("lora_A", "lora_B")),
    "kohya": ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", ("lora_down", "lora_up")),
}


@pytest.fixture
def supir():
    return load_supir(preset="tiny")


def written(path, style: str, width: int):
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(RANK, width, generator=generator), torch.randn(width, RANK, generator=generator)
    stem, (first, second) = STEMS[style]
    tensors = {f"{stem}.{first}.weight": down, f"{stem}.{second}.weight": up}
    if style == "diffusers":  # which notes no alpha: it is the rank
        save_file(tensors, path)
        return up @ down
    save_file({**tensors, f"{stem}.alpha": torch.tensor(ALPHA)}, path)
    return up @ down * ALPHA / RANK


@pytest.mark.parametrize("style", STEMS)
def test_a_lora_is_added_to_the_weights_and_leaves_nothing_behind(style, supir, tmp_path):
    before = {name: value.clone() for name, value in supir.state_dict().items()}
    change = written(tmp_path / "lora.safetensors", style, before[f"unet.{LAYER}.weight"].shape[1])
    fuse_lora(supir, tmp_path / "lora.safetensors", scale=0.5)
    after = supir.state_dict()
    assert after.keys() == before.keys()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == [f"unet.{LAYER}.weight"]
    difference = after[changed[0]] - before[changed[0]]
    torch.testing.assert_close(difference, 0.5 * change, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in supir.parameters())


def test_a_file_for_another_network_is_named(supir, tmp_path):
    written(tmp_path / "wide.safetensors", "diffusers", 999)
    with pytest.raises(ModelFileError, match=r"wide\.safetensors is no LoRA for this UNet"):
        fuse_lora(supir, tmp_path / "wide.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is no file"):
        fuse_lora(supir, tmp_path / "none.safetensors")
