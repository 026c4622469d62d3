"""Folders, precisions, seeds, and what is said when something is missing."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open

from supir_model import Supir, load_supir
from supir_model.errors import ModelFileError
from supir_model.folder import JUDGES
from supir_model.load import WEIGHTS
from supir_model.presets import PRESETS


@pytest.fixture(scope="module")
def supir():
    supir = load_supir(preset="tiny", seed=5)
    supir.robust_encoder.conv_in.weight.data += 0.1  # no longer the copy of the VAE's encoder it starts as
    return supir


@pytest.fixture(scope="module")
def saved(supir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    supir.save_pretrained(folder)
    return folder


def test_a_saved_model_comes_back_bit_for_bit(supir, saved):
    loaded = Supir.from_pretrained(saved)
    ours, theirs = supir.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert dict(loaded.connectors.config) == dict(loaded.connectors.config) | {"head_channels": 16}
    x, timestep = torch.ones(1, 8, 16, 16), torch.tensor([500])
    results = [
        model.predict_eps(x, timestep, x, model.encode_prompt(["a cat"]), model.time_ids(128, 128, 1))
        for model in (supir, loaded)
    ]
    assert torch.equal(*results)


def test_a_model_saved_again_tells_nothing_of_the_machine(saved, tmp_path):
    load_supir(saved).save_pretrained(tmp_path / "again")
    told = [path for path in (tmp_path / "again").rglob("*.json") if str(saved) in path.read_text()]
    assert told == []


def test_half_precision_files_are_half_the_bytes_and_load_to_any_precision(supir, saved, tmp_path):
    supir.save_pretrained(tmp_path, dtype=torch.float16)
    assert next(supir.unet.parameters()).dtype == torch.float32
    for file in tmp_path.rglob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            # position ids and the like stay integers
            kinds = {tensors.get_tensor(key).dtype for key in tensors.keys()}  # noqa: SIM118
        assert kinds == {torch.float16}, file
        assert file.stat().st_size < 0.6 * (saved / file.relative_to(tmp_path)).stat().st_size
    full, half = load_supir(tmp_path), load_supir(tmp_path, dtype=torch.float16)
    assert full.unet.dtype == full.control.dtype == torch.float32
    assert torch.equal(full.unet.conv_in.weight, supir.unet.conv_in.weight.half().float())
    assert half.unet.dtype == half.connectors.dtype == half.text.text_encoder.dtype == torch.float16
    # the SDXL autoencoder overflows in float16
    assert half.vae.dtype == next(half.robust_encoder.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "given", [{"preset": "tiny"}, {"preset": "mini"}, {"preset": "mini", "weights": None}]
)
def test_a_float16_model_without_files_of_its_own_keeps_its_vae_in_float32_too(given):
    half = load_supir(**given, dtype=torch.float16)
    kinds = {name: {value.dtype for value in part.parameters()} for name, part in half.named_children()}
    expected = {name: {torch.float16} for name in ("unet", "control", "connectors", "text")}
    precise = ("vae", "robust_encoder", *(name for name in JUDGES if getattr(half, name)))
    assert kinds == expected | {name: {torch.float32} for name in precise}
    # the same numbers as those of float32, not such that went through float16
    full = load_supir(**given)
    assert torch.equal(half.vae.decoder.conv_in.weight, full.vae.decoder.conv_in.weight)


def test_bfloat16_runs_end_to_end(saved):
    supir = load_supir(saved, dtype=torch.bfloat16)
    text = supir.encode_prompt(["a cat"])
    z_lq = supir.encode_lq(torch.zeros(1, 3, 64, 64))
    estimate = supir.denoise(torch.randn(1, 8, 8, 8), 3.0, z_lq, text, supir.time_ids(64, 64, 1))
    assert estimate.dtype == torch.float32
    assert bool(estimate.isfinite().all())


def test_the_saved_vae_scale_is_used(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "scaled")
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    image = torch.ones(1, 3, 32, 32)
    plain, scaled = load_supir(saved), load_supir(folder)
    torch.testing.assert_close(scaled.encode(image), 0.5 * plain.encode(image))
    torch.testing.assert_close(scaled.decode(scaled.encode(image)), plain.decode(plain.encode(image)))


def test_a_fresh_model_is_a_function_of_its_seed():
    torch.manual_seed(1)
    first = load_supir(preset="tiny", seed=8)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    again, other = load_supir(preset="tiny", seed=8), load_supir(preset="tiny", seed=9)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.unet.conv_in.weight, other.unet.conv_in.weight)


def test_a_loaded_model_is_frozen_and_in_eval_mode(supir):
    assert not any(parameter.requires_grad for parameter in supir.parameters())
    assert not supir.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "preset=None and checkpoint=None need base="),
        ({"preset": "micro"}, "preset='micro' is unknown; use one of None, 'sdxl', 'mini', 'tiny'"),
        (
            {"preset": "mini", "weights": "embeded"},
            "weights='embeded' is unknown; use one of 'embedded', None",
        ),
        (
            {"preset": "tiny", "connector": "foo"},
            "connector='foo' is unknown; use one of 'zero_sft', 'zero_conv'",
        ),
        ({"preset": "tiny", "dtype": "bfloat16"}, "dtype='bfloat16' is no precision; use torch.float32"),
        (
            {"preset": "tiny", "control_depth": (1, 0, 0)},
            r"control_depth=\(1, 0, 0\) is no depth; give three",
        ),
        (
            {"preset": "mini", "control_depth": (1, 1, 1)},
            "shape a fresh adapter, and the embedded mini holds one",
        ),
        ({"preset": "sdxl"}, "preset='sdxl' and checkpoint=None need base="),
        ({"preset": "mini", "checkpoint": "a.ckpt"}, "preset='mini' and checkpoint='a.ckpt' need base="),
    ],
)
def test_wrong_requests_are_refused_with_the_remedy(options, message):
    with pytest.raises(ValueError, match=message):
        load_supir(**options)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"base={tmp_path} is no model"):
        load_supir(tmp_path)


def test_a_missing_part_is_named(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "broken")
    shutil.rmtree(folder / "control")
    (folder / "robust_encoder" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing control, robust_encoder/diffusion_pytorch_model"):
        load_supir(folder)


def test_a_newer_format_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "newer")
    (folder / "config.json").write_text('{"_class_name": "Supir", "format": 2}')
    with pytest.raises(ValueError, match="has format 2; this version reads 1"):
        load_supir(folder)


def test_missing_embedded_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("supir_model.load.WEIGHTS", tmp_path)
    with pytest.raises(
        FileNotFoundError, match="embedded weights of preset='mini' are not in this installation"
    ):
        load_supir(preset="mini")


def test_mini_without_weights_is_a_fresh_network():
    mini = load_supir(preset="mini", weights=None)
    assert mini.latent_channels == 64
    assert mini.encode_prompt(["a cat"]).context.shape == (1, 77, 160)


@pytest.mark.skipif(not (WEIGHTS / "mini" / "config.json").is_file(), reason="mini has not been trained yet")
def test_embedded_mini_is_within_its_size_and_reconstructs():
    files = list((WEIGHTS / "mini").rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 32_000_000
    assert max(file.stat().st_size for file in files) <= 15_000_000
    mini = load_supir(preset="mini")
    ramp = torch.linspace(-0.8, 0.8, 64).expand(1, 3, 64, 64)
    assert float((mini.decode(mini.encode(ramp)) - ramp).abs().mean()) < 0.05


def test_an_sdxl_folder_gets_a_fresh_adapter(supir, tmp_path):
    preset = PRESETS["sdxl"]
    small = {
        **preset.unet,
        "block_out_channels": (32, 64, 128),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (1, 1, 2),
        "cross_attention_dim": 48,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 80,
    }
    unet = UNet2DConditionModel(**small)
    unet.save_pretrained(tmp_path / "unet")
    AutoencoderKL(**{**preset.vae, "block_out_channels": (32, 32, 32, 32)}).save_pretrained(tmp_path / "vae")
    supir.text.text_encoder.save_pretrained(tmp_path / "text_encoder")
    supir.text.text_encoder_2.save_pretrained(tmp_path / "text_encoder_2")
    supir.text.tokenizer.save_pretrained(tmp_path / "tokenizer")
    grown = load_supir(tmp_path, control_depth=(1, 1, 1))
    assert len(grown.control.mid_block.attentions[0].transformer_blocks) == 1
    assert torch.equal(grown.control.conv_in.weight, unet.conv_in.weight)
    assert grown.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 8, 8)
    text, time_ids = grown.encode_prompt(["a cat"]), grown.time_ids(64, 64, 1)
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert grown.denoise(latent, 2.0, latent, text, time_ids).shape == latent.shape
    with pytest.raises(FileNotFoundError, match="is no model"):
        load_supir(tmp_path / "unet")


def test_a_model_with_the_autoencoder_of_an_older_mini_is_refused_in_words(saved, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(saved, folder)
    config = folder / "vae" / "config.json"
    values = {key: value for key, value in json.loads(config.read_text()).items() if key != "robust_layers"}
    config.write_text(json.dumps(values | {"layers_per_block": [1, 2]}))
    with pytest.raises(ModelFileError, match="vae is the autoencoder of an older mini"):
        load_supir(folder)
