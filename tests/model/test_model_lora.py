"""A LoRA made here changes each weight by exactly scale · alpha / rank · B A, whichever names it is written with."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_model import load_supir
from supir_model.errors import ModelFileError
from supir_model.lora import fuse_lora
from supir_model.memory import store_in_float8

RANK, ALPHA, SCALE = 4, 2.0, 0.5
BLOCK = "transformer_blocks_0_attn1"
CLIP = "encoder.layers.1.self_attn.q_proj"


@dataclass(frozen=True)
class Layer:
    """A layer of the model and its stem in four dialects."""

    name: str
    diffusers: str
    kohya: str
    kohya_ldm: str
    peft: str


UNET = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
LAYERS = [
    Layer(
        f"{UNET}.attn1.to_q",
        f"{UNET}.attn1.to_q",
        f"lora_unet_down_blocks_1_attentions_0_{BLOCK}_to_q",
        f"lora_unet_input_blocks_4_1_{BLOCK}_to_q",
        f"{UNET}.attn1.to_q".removeprefix("unet."),
    ),
    Layer(
        f"{UNET}.attn1.to_out.0",
        f"{UNET}.attn1.to_out.0",
        f"lora_unet_down_blocks_1_attentions_0_{BLOCK}_to_out_0",
        f"lora_unet_input_blocks_4_1_{BLOCK}_to_out_0",
        f"{UNET}.attn1.to_out.0".removeprefix("unet."),
    ),
    Layer(
        "unet.up_blocks.0.resnets.1.conv1",
        "unet.up_blocks.0.resnets.1.conv1",
        "lora_unet_up_blocks_0_resnets_1_conv1",
        "lora_unet_output_blocks_1_0_in_layers_2",
        "up_blocks.0.resnets.1.conv1",
    ),
    Layer(
        f"text.text_encoder.{CLIP}",
        f"text_encoder.text_model.{CLIP}",
        f"lora_te1_text_model_{CLIP.replace('.', '_')}",
        f"lora_te1_text_model_{CLIP.replace('.', '_')}",
        f"text_model.{CLIP}",
    ),
    Layer(
        f"text.text_encoder_2.text_model.{CLIP}",
        f"text_encoder_2.text_model.{CLIP}",
        f"lora_te2_text_model_{CLIP.replace('.', '_')}",
        f"lora_te2_text_model_{CLIP.replace('.', '_')}",
        f"text_model.{CLIP}",
    ),
]
DIALECTS = {
    "diffusers": ("{diffusers}.lora_A.weight", "{diffusers}.lora_B.weight"),
    "diffusers of 2023": ("{diffusers}.lora.down.weight", "{diffusers}.lora.up.weight"),
    "kohya": ("{kohya}.lora_down.weight", "{kohya}.lora_up.weight"),
    "kohya, LDM blocks": ("{kohya_ldm}.lora_down.weight", "{kohya_ldm}.lora_up.weight"),
    "PEFT": ("base_model.model.{peft}.lora_A.weight", "base_model.model.{peft}.lora_B.weight"),
    "PEFT, named adapter": (
        "base_model.model.{peft}.lora_A.default.weight",
        "base_model.model.{peft}.lora_B.default.weight",
    ),
    "diffusers through PEFT": (
        "base_model.model.{diffusers}.lora_A.weight",
        "base_model.model.{diffusers}.lora_B.weight",
    ),
}


@pytest.fixture(scope="module")
def fresh():
    return load_supir(preset="tiny")


@pytest.fixture
def supir(fresh):
    return copy.deepcopy(fresh)


@pytest.fixture
def planted(tmp_path):
    """Writes a LoRA for some layers in a dialect; returns its file and the change that it means at strength 1."""

    def plant(supir, dialect="diffusers", layers=LAYERS, alpha=None):
        generator = torch.Generator().manual_seed(0)
        tensors, expected = {}, {}
        for layer in layers:
            weight = supir.get_parameter(f"{layer.name}.weight")
            down = torch.randn(RANK, *weight.shape[1:], generator=generator)
            up = torch.randn(len(weight), RANK, *[1] * (weight.ndim - 2), generator=generator)
            names = [name.format_map(vars(layer)) for name in DIALECTS[dialect]]
            tensors |= dict(zip(names, (down, up), strict=True))
            if alpha is not None:
                tensors[f"{names[0].partition('.lora')[0]}.alpha"] = torch.tensor(alpha)
            product = torch.einsum("or...,ri...->oi...", up, down)
            expected[f"{layer.name}.weight"] = product * ((alpha or RANK) / RANK)
        save_file(tensors, tmp_path / "lora.safetensors")
        return tmp_path / "lora.safetensors", expected

    return plant


def assert_merged(supir, before, expected, scale):
    """Every expected weight is base + scale · change to 1e-6, and no other tensor of the model has moved."""
    after = supir.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == expected.keys()
    for name, change in expected.items():
        torch.testing.assert_close(after[name], before[name] + scale * change, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [None, ALPHA, 3])  # some writers note it as an integer
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_lora_is_added_to_the_weights_in_every_dialect(dialect, alpha, supir, fresh, planted):
    supir.connectors.requires_grad_(True)
    expected, counted = {}, Counter()
    # one network a file: PEFT's names do not say which text encoder they are of, its shapes do
    for layers in (LAYERS[:4], LAYERS[4:]) if "PEFT" in dialect else (LAYERS,):
        path, change = planted(supir, dialect, layers, alpha)
        counted.update(fuse_lora(supir, path, scale=SCALE))
        expected |= change
    assert counted == {"unet": 3, "text_encoder": 1, "text_encoder_2": 1}
    assert_merged(supir, fresh.state_dict(), expected, SCALE)
    trained = [name for name, parameter in supir.named_parameters() if parameter.requires_grad]
    assert trained == [f"connectors.{name}" for name, _ in supir.connectors.named_parameters()]


def test_the_layout_of_attention_processors_is_read(supir, fresh, planted, tmp_path):
    path, expected = planted(supir, layers=LAYERS[:2])
    old = {
        name.replace("attn1.to_q.lora_A", "attn1.processor.to_q_lora.down")
        .replace("attn1.to_q.lora_B", "attn1.processor.to_q_lora.up")
        .replace("attn1.to_out.0.lora_A", "attn1.processor.to_out_lora.down")
        .replace("attn1.to_out.0.lora_B", "attn1.processor.to_out_lora.up"): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(old, tmp_path / "old.safetensors")
    fuse_lora(supir, tmp_path / "old.safetensors")
    assert_merged(supir, fresh.state_dict(), expected, 1.0)


def test_negative_strength_takes_a_lora_away_again(supir, fresh, planted):
    path, expected = planted(supir)
    fuse_lora(supir, path)
    fuse_lora(supir, path, scale=-1.0)
    for name in expected:
        torch.testing.assert_close(supir.state_dict()[name], fresh.state_dict()[name], rtol=0, atol=2e-6)


def test_alpha_in_the_header_of_diffusers_is_taken(supir, fresh, planted):
    path, expected = planted(supir, layers=LAYERS[:2])
    noted = {"unet.r": RANK, "unet.lora_alpha": 8, "unet.alpha_pattern": {r"attn1.to_q": 2}}
    save_file(load_file(path), path, metadata={"lora_adapter_metadata": json.dumps(noted)})
    fuse_lora(supir, path)
    names = list(expected)
    factors = {names[0]: 2 / RANK, names[1]: 8 / RANK}
    assert_merged(supir, fresh.state_dict(), {name: expected[name] * factors[name] for name in names}, 1.0)


def test_a_folder_of_peft_is_read_with_the_alpha_of_its_config(supir, fresh, planted, tmp_path):
    path, expected = planted(supir, "PEFT", LAYERS[:1])
    folder = tmp_path / "adapter"
    folder.mkdir()
    path.rename(folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "use_rslora": True}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    fuse_lora(supir, folder)
    scaled = {name: change * (6 / RANK**0.5) for name, change in expected.items()}
    assert_merged(supir, fresh.state_dict(), scaled, 1.0)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ModelFileError, match=r"adapter_model\.safetensors is DoRA, by its config"):
        fuse_lora(supir, folder)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        ("dora_scale", r"is DoRA \(weight-decomposed\), by its tensor"),
        ("lora_magnitude_vector.default.weight", r"is DoRA \(weight-decomposed\), by its tensor"),
        ("hada_w1_a", "is LoHa, by its tensor"),
        ("lokr_w2", "is LoKr, by its tensor"),
        ("oft_diag", "is OFT, by its tensor"),
        ("lora_mid.weight", "is LoCon with a middle factor"),
        ("lora_B.bias", "is LoRA with biases"),
        ("diff", "is whole differences of weights"),
        ("lora_C.weight", "is no LoRA: its tensor .*lora_C.weight is none of one"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(suffix, words, supir, fresh, planted):
    path, _ = planted(supir)
    save_file(load_file(path) | {f"{LAYERS[0].diffusers}.{suffix}": torch.ones(3)}, path)
    with pytest.raises(ModelFileError, match=words):
        fuse_lora(supir, path)
    assert_merged(supir, fresh.state_dict(), {}, 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t | {next(iter(t)): next(iter(t.values())) * float("nan")}, "holds numbers that are none"),
        (
            lambda t: t | {next(iter(t)): torch.ones(RANK, 999)},
            r"is no LoRA for this model: .* \[4, 999\], wa",
        ),
        (lambda t: dict(list(t.items())[1:]), "is incomplete: .* has only"),
        (
            lambda t: t | {"transformer.blocks.0.q.lora_A.weight": torch.ones(4, 4)},
            r"has no layer transformer\.blocks\.0\.q \(1 of 6 such\)",
        ),
        (lambda t: {name: value * 1e30 for name, value in t.items()}, "makes .* infinite in torch.float32"),
    ],
)
def test_a_refused_file_leaves_the_model_as_it_was(change, words, supir, fresh, planted):
    path, _ = planted(supir)
    save_file(change(load_file(path)), path)
    with pytest.raises(ModelFileError, match=words):
        fuse_lora(supir, path)
    assert_merged(supir, fresh.state_dict(), {}, 1.0)


def test_a_page_that_was_downloaded_instead_is_no_lora(supir, tmp_path):
    (tmp_path / "page.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ModelFileError, match=r"page\.safetensors is no checkpoint: neither safetensors nor"):
        fuse_lora(supir, tmp_path / "page.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is no file; give a LoRA"):
        fuse_lora(supir, tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"is a folder without adapter_model\.safetensors"):
        fuse_lora(supir, tmp_path)


def test_8_bit_weights_are_refused(supir, planted):
    path, _ = planted(supir)
    store_in_float8(supir, torch.float32)
    with pytest.raises(ValueError, match="into offloaded or 8-bit weights; call fuse_lora before"):
        fuse_lora(supir, path)
