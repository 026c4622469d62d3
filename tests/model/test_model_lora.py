"""A LoRA made here changes the prior by exactly W + scale · B A · alpha / rank, in both file formats."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_model import load_supir
from supir_model.errors import ModelFileError
from supir_model.lora import fuse_lora
from supir_model.memory import store_in_float8

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
    save_file(
        {**tensors, f"{stem}.alpha": torch.tensor(int(ALPHA))}, path
    )  # some writers note it as an integer
    return up @ down * ALPHA / RANK


@pytest.mark.parametrize("style", STEMS)
def test_a_lora_is_added_to_the_weights_and_leaves_nothing_behind(style, supir, tmp_path):
    before = {name: value.clone() for name, value in supir.state_dict().items()}
    change = written(tmp_path / "lora.safetensors", style, before[f"unet.{LAYER}.weight"].shape[1])
    supir.connectors.requires_grad_(True)
    fuse_lora(supir, tmp_path / "lora.safetensors", scale=0.5)
    after = supir.state_dict()
    assert after.keys() == before.keys()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == [f"unet.{LAYER}.weight"]
    difference = after[changed[0]] - before[changed[0]]
    torch.testing.assert_close(difference, 0.5 * change, rtol=1e-5, atol=1e-5)
    trained = [name for name, parameter in supir.named_parameters() if parameter.requires_grad]
    assert trained == [f"connectors.{name}" for name, _ in supir.connectors.named_parameters()]


def test_a_file_for_another_network_is_named(supir, tmp_path):
    written(tmp_path / "wide.safetensors", "diffusers", 999)
    with pytest.raises(ModelFileError, match=r"wide\.safetensors is no LoRA for this UNet"):
        fuse_lora(supir, tmp_path / "wide.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is no file"):
        fuse_lora(supir, tmp_path / "none.safetensors")


def test_a_refused_file_leaves_the_model_as_it_was(supir, tmp_path):
    before = {name: value.clone() for name, value in supir.state_dict().items()}
    module = supir.text.text_encoder.get_submodule("encoder.layers.0.self_attn.q_proj")
    written(tmp_path / "lora.safetensors", "diffusers", before[f"unet.{LAYER}.weight"].shape[1])
    stem = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"  # does not fit, read after the UNet's part
    misfit = {
        f"{stem}.lora_A.weight": torch.ones(RANK, module.in_features + 1),
        f"{stem}.lora_B.weight": torch.ones(module.out_features, RANK),
    }
    save_file(load_file(tmp_path / "lora.safetensors") | misfit, tmp_path / "misfit.safetensors")
    with pytest.raises(ModelFileError, match=r"misfit\.safetensors is no LoRA for this UNet"):
        fuse_lora(supir, tmp_path / "misfit.safetensors")
    assert supir.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in supir.state_dict().items())
    supir.save_pretrained(tmp_path / "saved")
    assert load_supir(tmp_path / "saved").state_dict().keys() == before.keys()


def test_a_page_that_was_downloaded_instead_is_no_lora(supir, tmp_path):
    (tmp_path / "page.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ModelFileError, match=r"page\.safetensors is no checkpoint: neither safetensors nor"):
        fuse_lora(supir, tmp_path / "page.safetensors")


def test_8_bit_weights_are_refused(supir, tmp_path):
    written(tmp_path / "lora.safetensors", "diffusers", 64)
    store_in_float8(supir, torch.float32)
    with pytest.raises(ValueError, match="into offloaded or 8-bit weights; call fuse_lora before"):
        fuse_lora(supir, tmp_path / "lora.safetensors")
