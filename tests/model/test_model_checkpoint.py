"""Official files: names of the full-size network, round trips to the bit, and refusals by name."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.transformer import TextTransformer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from supir_model.checkpoint import Adapter, _parameters, load_checkpoint, save_checkpoint
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.errors import ModelFileError
from supir_model.load import load_supir
from supir_model.official_names import UNET, VAE, official_shape, unet_name, vae_name
from supir_model.presets import FULL_DEPTH, PRESETS
from supir_model.single_file import TEXT_2, load_unet, load_vae
from supir_model.tensor_file import TensorFile

LEFTOVER = "model.control_model.mask_LQ"


def small_unet(depth: tuple[int, ...] = (1, 1, 2)) -> UNet2DConditionModel:
    shape = {"block_out_channels": (32, 64, 128), "attention_head_dim": (1, 1, 2), "cross_attention_dim": 24}
    sizes = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8}
    return UNet2DConditionModel(
        **{**PRESETS["sdxl"].unet, **shape, **sizes, "transformer_layers_per_block": depth}
    )


def small_vae() -> AutoencoderKL:
    return AutoencoderKL(**{**PRESETS["sdxl"].vae, "block_out_channels": (32, 32, 64, 64)})


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return small_unet()


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return small_vae()


@pytest.fixture(scope="module")
def adapter(unet, vae) -> Adapter:
    torch.manual_seed(0)
    control = ControlEncoder.for_unet(unet, (1, 1, 1))
    connectors = Connectors(block_out_channels=unet.config["block_out_channels"], hidden_channels=48)
    robust = small_vae().encoder
    for parameter in [*control.parameters(), *connectors.parameters(), *robust.parameters()]:
        nn.init.normal_(parameter)
    return Adapter(control, connectors, robust)


def same(one: Adapter, other: Adapter) -> bool:
    return all(
        torch.equal(value, theirs.state_dict()[key])
        for ours, theirs in (
            (one.control, other.control),
            (one.connectors, other.connectors),
            (one.robust_encoder, other.robust_encoder),
        )
        for key, value in ours.state_dict().items()
    )


def official_base(unet: UNet2DConditionModel, vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    levels = len(vae.config["block_out_channels"])
    named = {UNET + unet_name(key): value for key, value in unet.state_dict().items()}
    named |= {VAE + vae_name(key, levels): value for key, value in vae.state_dict().items()}
    return {name: value.reshape(official_shape(name, tuple(value.shape))) for name, value in named.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_written_file_opens_to_the_same_bits(suffix, adapter, unet, vae, tmp_path):
    save_checkpoint(adapter, tmp_path / f"a{suffix}")
    opened = load_checkpoint(tmp_path / f"a{suffix}", unet, vae)
    assert opened.control.config["transformer_layers_per_block"] == (1, 1, 1)  # trimmed: read from the names
    assert opened.connectors.config["hidden_channels"] == 48
    assert same(adapter, opened)


def test_a_file_without_the_state_dict_level_and_with_the_leftover_opens(adapter, unet, vae, tmp_path):
    save_checkpoint(adapter, tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors") | {LEFTOVER: torch.zeros(1, 4, 64, 64)}
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "half.ckpt")
    opened = load_checkpoint(tmp_path / "half.ckpt", unet, vae, dtype=torch.float16)
    assert opened.control.dtype == torch.float16
    assert opened.robust_encoder.conv_in.weight.dtype == vae.dtype
    assert torch.equal(opened.control.hint.weight, adapter.control.hint.weight.half())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"model.control_model.label_emb.0.2.bias": None},
            r"1 missing: model\.control_model\.label_emb\.0\.2\.bias",
        ),
        ({"model.control_model.extra": torch.zeros(3)}, r"1 unknown: model\.control_model\.extra"),
        (
            {"first_stage_model.denoise_encoder.conv_in.bias": torch.zeros(7)},
            r"1 of another shape: first_stage_model\.denoise_encoder\.conv_in\.bias \[7\], wanted \[32\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, text, adapter, unet, vae, tmp_path):
    save_checkpoint(adapter, tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors") | change
    save_file(
        {name: value for name, value in tensors.items() if value is not None}, tmp_path / "b.safetensors"
    )
    with pytest.raises(ValueError, match=text):
        load_checkpoint(tmp_path / "b.safetensors", unet, vae)


@pytest.mark.parametrize("settings", ["{", "[1]", '{"width": 3}', '{"block_out_channels": [1, 2]}'])
def test_damaged_connector_settings_are_named(settings, adapter, unet, vae, tmp_path):
    save_checkpoint(adapter, tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    save_file(tensors, tmp_path / "b.safetensors", metadata={"supir_connectors": settings})
    with pytest.raises(
        ModelFileError, match=r"b\.safetensors has damaged metadata, supir_connectors: .+; write"
    ):
        load_checkpoint(tmp_path / "b.safetensors", unet, vae)


def test_a_number_in_place_of_a_tensor_is_of_another_shape(adapter, unet, vae, tmp_path):
    save_checkpoint(adapter, tmp_path / "a.safetensors")
    name = "model.diffusion_model.project_modules.0.mlp_shared.0.bias"
    tensors = load_file(tmp_path / "a.safetensors") | {name: torch.tensor(3.0)}
    save_file(tensors, tmp_path / "b.safetensors")
    with pytest.raises(ModelFileError, match=r"mlp_shared\.0\.bias \[\], wanted \[128\]"):
        load_checkpoint(tmp_path / "b.safetensors", unet, vae)


def test_a_base_without_an_sdxl_vae_is_refused(adapter, unet, tmp_path):
    save_checkpoint(adapter, tmp_path / "new folder" / "a.safetensors")
    mini = load_supir(preset="mini", weights=None)
    with pytest.raises(ModelFileError, match="wants a base with SDXL's VAE; this one has MiniVAE"):
        load_checkpoint(tmp_path / "new folder" / "a.safetensors", unet, mini.vae)


def test_a_file_of_something_else_is_named(unet, vae, tmp_path):
    save_file({"lora.weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="holds no SUPIR control encoder"):
        load_checkpoint(tmp_path / "lora.safetensors", unet, vae)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt is no file"):
        load_checkpoint(tmp_path / "none.ckpt", unet, vae)


def test_pickled_code_is_never_run(unet, vae, tmp_path):
    torch.save({"state_dict": {"a": Path("touched")}}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="more than tensors, which could be code"):
        load_checkpoint(tmp_path / "evil.ckpt", unet, vae)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_truncated_file_is_named(suffix, adapter, unet, vae, tmp_path):
    path = tmp_path / f"a{suffix}"
    save_checkpoint(adapter, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="download it again"):
        load_checkpoint(path, unet, vae)


def test_a_single_file_base_gives_back_unet_and_vae(unet, vae, tmp_path):
    tensors = official_base(unet, vae)
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "base.safetensors")
    file = TensorFile(tmp_path / "base.safetensors")
    again = load_unet(file, time_id_channels=8)
    for key in (
        "block_out_channels",
        "transformer_layers_per_block",
        "cross_attention_dim",
        "attention_head_dim",
    ):
        assert tuple_or_int(again.config[key]) == tuple_or_int(unet.config[key])
    assert all(torch.equal(value, unet.state_dict()[key]) for key, value in again.state_dict().items())
    vae_again = load_vae(file)
    assert all(torch.equal(value, vae.state_dict()[key]) for key, value in vae_again.state_dict().items())


def tuple_or_int(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else value


def test_every_official_name_and_shape_of_the_full_size_is_known(parity_folder):
    listed = json.loads((parity_folder / "official_keys.json").read_text())
    with torch.device("meta"):
        unet = UNet2DConditionModel(**PRESETS["sdxl"].unet)
        vae = AutoencoderKL(**PRESETS["sdxl"].vae)
        adapter = Adapter(
            ControlEncoder.for_unet(unet, FULL_DEPTH),
            Connectors(block_out_channels=unet.config["block_out_channels"]),
            AutoencoderKL(**PRESETS["sdxl"].vae).encoder,
        )
    ours = {name: list(shape) for _, _, name, shape in _parameters(adapter)}
    assert ours == dict(listed["supir_delta"])
    base = {UNET + unet_name(key): value.shape for key, value in unet.named_parameters()}
    base |= {VAE + vae_name(key, 4): value.shape for key, value in vae.named_parameters()}
    base = {name: list(official_shape(name, tuple(shape))) for name, shape in base.items()}
    assert base == dict(listed["sdxl_base"])


@pytest.fixture(scope="module")
def text_towers() -> tuple[CLIPTextModel, TextTransformer]:
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    config = CLIPTextConfig(**{**PRESETS["sdxl"].text_encoder, **sizes})
    second = TextTransformer(width=128, heads=2, layers=2, output_dim=16, vocab_size=49408)
    return CLIPTextModel(config).eval(), second.eval()


@pytest.fixture(scope="module")
def base_tensors(text_towers, unet, vae) -> dict[str, torch.Tensor]:
    first, second = text_towers
    tensors = official_base(unet, vae)
    stem = "conditioner.embedders.0.transformer.text_model."
    tensors |= {stem + key.removeprefix("text_model."): value for key, value in first.state_dict().items()}
    tensors |= {f"{TEXT_2}{key}": value for key, value in second.state_dict().items()}
    return {key: value.contiguous() for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            TEXT_2 + "ln_final.weight",
            None,
            r"second text encoder .* does not fit: Missing key\(s\).*final_layer_norm",
        ),
        (TEXT_2 + "ln_final.weight", torch.zeros(7), r"second text encoder .* does not fit: size mismatch"),
        (UNET + "out.2.weight", torch.tensor(1.0), r"out\.2\.weight is \[\]"),
        (UNET + "out.2.bias", torch.zeros(4, dtype=torch.int64), r"out\.2\.bias as torch\.int64"),
    ],
)
def test_a_single_file_that_is_not_whole_is_refused_by_name(name, change, told, base_tensors, tmp_path):
    tensors = {key: value for key, value in base_tensors.items() if key != name}
    save_file(tensors | ({} if change is None else {name: change}), tmp_path / "base.safetensors")
    with pytest.raises(ModelFileError, match=told):
        load_supir(tmp_path / "base.safetensors")


def test_a_single_file_base_opens_with_both_text_encoders_and_an_official_file(
    text_towers, base_tensors, adapter, tmp_path
):
    first, second = text_towers
    save_file(base_tensors, tmp_path / "base.safetensors")
    save_checkpoint(adapter, tmp_path / "supir.safetensors")
    supir = load_supir(tmp_path / "base.safetensors", tmp_path / "supir.safetensors")
    assert same(adapter, Adapter(supir.control, supir.connectors, supir.robust_encoder))
    assert supir.prediction_type == "epsilon"
    save_file(base_tensors | {"v_pred": torch.empty(0)}, tmp_path / "velocity.safetensors")
    assert load_supir(tmp_path / "velocity.safetensors").prediction_type == "v_prediction"

    prompt = "a fishing boat, morning fog"
    ours = supir.encode_prompt([prompt])
    tokens = open_clip.tokenize([prompt])  # pads with 0, as the second encoder wants it
    ends = tokens.masked_fill(tokens == 0, tokens.max())
    with torch.no_grad():
        torch.testing.assert_close(ours.pooled, second(tokens), atol=1e-5, rtol=1e-4)
        penultimate = first(ends, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(ours.context[..., :64], penultimate, atol=1e-5, rtol=1e-4)
        hidden = second.token_embedding(tokens) + second.positional_embedding
        hidden = second.transformer.resblocks[0](hidden, attn_mask=second.attn_mask)
        torch.testing.assert_close(ours.context[..., 64:], hidden, atol=1e-5, rtol=1e-4)
