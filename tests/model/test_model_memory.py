"""Float8 storage, compiled blocks and offloading, all with the connectors acting."""

from __future__ import annotations

import copy
import gc
from functools import partial

import pytest
import torch

from supir_model import load_supir
from supir_model.checkpoint import Adapter, save_checkpoint
from supir_model.memory import compile_blocks, offload, store_in_float8


@pytest.fixture(scope="module")
def original():
    supir = load_supir(preset="tiny", seed=3)
    generator = torch.Generator().manual_seed(11)
    for part in (supir.connectors, supir.control.hint):
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return supir


@pytest.fixture
def supir(original):
    return copy.deepcopy(original)


def inputs(supir):
    generator = torch.Generator().manual_seed(7)
    x, z_lq = (torch.randn(2, 8, 16, 16, generator=generator) for _ in range(2))
    return x, z_lq, supir.encode_prompt(["a stone wall", "two dogs"])


@torch.no_grad()
def denoised(supir):
    x, z_lq, text = inputs(supir)
    return supir.denoise(x, 5.0, z_lq, text, supir.time_ids(128, 128, 2))


@torch.no_grad()
def eps(supir):
    x, z_lq, text = inputs(supir)
    return supir.predict_eps(x, torch.tensor([250, 800]), z_lq, text, supir.time_ids(128, 128, 2))


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_float8_storage_keeps_norms_and_zero_convolutions_whole(supir, original):
    store_in_float8(supir, torch.float32)
    assert 0 < relative(eps(supir), eps(original)) < 0.1
    names = [
        (name, value.dtype)
        for part in (supir.control, supir.connectors)
        for name, value in part.named_parameters()
    ]
    stored = {name for name, dtype in names if dtype == torch.float8_e4m3fn}
    assert "layers.0.hidden.weight" in stored
    assert "mid_block.resnets.0.conv1.weight" in stored
    whole = ("norm", "gamma", "beta", "residual", "hint")
    assert not [name for name in stored if any(word in name for word in whole)]


def test_float8_storage_casts_what_it_does_not_store(supir, original):
    store_in_float8(supir, torch.bfloat16)
    assert supir.control.hint.weight.dtype == torch.bfloat16
    assert 0 < relative(denoised(supir), denoised(original)) < 0.1


def test_weights_that_are_offloaded_to_files_give_the_same_bits(supir, original, tmp_path):
    offload(supir, "cpu", tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) > 1_000_000
    assert torch.equal(eps(supir), eps(original))


def test_a_folder_that_another_model_was_offloaded_to_serves_again(supir, original, tmp_path):
    other = load_supir(preset="tiny", seed=4)
    expected = eps(other)
    offload(supir, "cpu", tmp_path)
    offload(other, "cpu", tmp_path)
    assert torch.equal(eps(other), expected)
    assert torch.equal(eps(supir), eps(original))


def test_the_files_of_an_offloaded_model_go_with_it(tmp_path):
    supir = load_supir(preset="tiny")
    offload(supir, "cpu", tmp_path)
    assert [path.name.startswith("weights-") for path in tmp_path.iterdir()] == [True]
    del supir
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_weights_in_files_are_not_saved_as_if_they_were_held(supir, tmp_path):
    offload(supir, "cpu", tmp_path / "weights")
    alone = Adapter(supir.control, supir.connectors, supir.robust_encoder)
    for save in (supir.save_pretrained, partial(save_checkpoint, supir), partial(save_checkpoint, alone)):
        with pytest.raises(
            ValueError, match=r"offloaded to .*/weights-.* and cannot be saved; save the model before"
        ):
            save(tmp_path / "saved.safetensors")
    assert not (tmp_path / "saved.safetensors").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="offloading between devices needs a CUDA device")
def test_offloading_to_main_memory_gives_the_same_numbers_on_the_gpu(supir, original):
    offload(supir, "cuda")
    torch.testing.assert_close(eps(supir).cpu(), eps(original), rtol=1e-3, atol=1e-3)


def test_compiled_blocks_give_the_same_numbers(supir, original):
    torch.compiler.reset()
    compile_blocks(supir, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(eps(supir), eps(original), rtol=1e-4, atol=1e-5)
