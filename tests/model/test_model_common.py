"""What every model must stand: sizes, batches, precisions, determinism, and calls that are wrong."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from supir_model import TextConditioning, load_supir
from supir_model.diffusion import sampling_sigmas
from supir_model.guidance import LinearScale, guided
from supir_model.sampler import sample_edm


@pytest.fixture(scope="module")
def supir():
    supir = load_supir(preset="tiny", seed=3)
    generator = torch.Generator().manual_seed(11)
    for part in (supir.connectors, supir.control.hint):
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return supir


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def eps(supir, batch=1, size=(16, 16), dtype=torch.float32):
    x, z_lq = noise(2, batch, 8, *size).to(dtype)
    text = supir.encode_prompt([f"picture {number}" for number in range(batch)])
    return supir.predict_eps(x, torch.full((batch,), 400), z_lq, text, supir.time_ids(128, 128, batch))


@pytest.mark.parametrize("size", [(8, 8), (14, 18), (16, 40), (15, 17)])
def test_any_size_comes_back_in_its_size(size, supir):
    assert eps(supir, size=size).shape == (1, 8, *size)


def test_the_same_call_gives_the_same_bits(supir):
    assert torch.equal(eps(supir, batch=3), eps(supir, batch=3))


def test_a_row_does_not_depend_on_its_neighbours(supir):
    x, z_lq = noise(2, 3, 8, 16, 16)
    text, sizes = supir.encode_prompt(["a", "b", "c"]), supir.time_ids(128, 128, 3)
    timestep = torch.tensor([100, 500, 900])
    with torch.no_grad():
        whole = supir.predict_eps(x, timestep, z_lq, text, sizes)
        for row in range(3):
            one = slice(row, row + 1)
            alone = supir.predict_eps(x[one], timestep[one], z_lq[one], text[one], sizes[one])
            torch.testing.assert_close(alone, whole[one], rtol=1e-4, atol=1e-5)


def test_latents_under_several_prompts_equal_as_many_calls(supir):
    x, z_lq = noise(2, 2, 8, 16, 16)
    text = supir.encode_prompt(["a", "b", "c", "d"])
    timestep = torch.tensor([300, 600])
    with torch.no_grad():
        prepared = supir.prepare(z_lq, text, supir.time_ids(128, 128, 4))
        together = supir.eps(x, timestep, prepared)
        for first in (0, 2):
            apart = supir.predict_eps(x, timestep, z_lq, text[first : first + 2], supir.time_ids(128, 128, 2))
            torch.testing.assert_close(together[first : first + 2], apart, rtol=1e-4, atol=1e-5)


def test_a_precision_moved_there_and_back_keeps_its_rounding(supir):
    moved = load_supir(preset="tiny", seed=3).to(torch.bfloat16)
    assert {parameter.dtype for parameter in moved.parameters()} == {torch.bfloat16}
    assert eps(moved, dtype=torch.bfloat16).dtype == torch.bfloat16
    back = moved.to(torch.float32)
    original = load_supir(preset="tiny", seed=3)
    for name, value in back.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, original.state_dict()[name].bfloat16().float()), name


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda s: s.encode(torch.zeros(1, 4, 64, 64)),
            r"image has shape \[1, 4, 64, 64\], torch\.float32; \(B, 3, H, W\)",
        ),
        (
            lambda s: s.encode_lq(torch.zeros(1, 3, 60, 64)),
            "image of 60x64 px: both sides must be multiples of 8",
        ),
        (
            lambda s: latents(s, z_lq=torch.zeros(1, 4, 8, 8)),
            r"z_lq has shape \[1, 4, 8, 8\]; \(B, 8, h, w\)",
        ),
        (lambda s: latents(s, x_in=torch.zeros(8, 8, 8)), r"x_in has shape \[8, 8, 8\]; \(B, 8, h, w\)"),
        (
            lambda s: latents(s, width=2048),
            "the text is 2048 and pooled 32 wide, this UNet reads 48 and 32; encode the prompts",
        ),
        (lambda s: latents(s, z_lq=torch.zeros(1, 8, 8, 4)), r"\[1, 8, 4\] and \[1, 8, 8\]; encode the same"),
        (lambda s: s.decode(torch.zeros(1, 4, 8, 8)), r"latent has shape \[1, 4, 8, 8\]; \(B, 8, h, w\)"),
        (
            lambda s: s.encode_lq(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)),
            r"torch\.uint8; \(B, 3, H, W\), floating",
        ),
        (lambda s: s.encode_prompt("a wall"), r"prompts='a wall' is one text; give a list"),
        (lambda s: noise_level(s, float("nan")), "sigma=nan is no noise level"),
        (lambda s: noise_level(s, -1.0), "sigma=-1.0 is no noise level"),
        (lambda s: latents(s, sizes=2), "1 contexts, 1 pooled texts and 2 size vectors"),
        (lambda s: latents(s, x_in=torch.zeros(2, 8, 8, 8)), "1 prompts for 2 latents; give one prompt"),
        (lambda s: latents(s, device="meta"), "z_lq is on meta, the model on cpu; move it with"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call, text, supir):
    with pytest.raises(ValueError, match=text):
        call(supir)


def noise_level(supir, sigma):
    z_lq = torch.zeros(1, supir.latent_channels, 8, 8)
    return supir.denoise(z_lq, sigma, z_lq, supir.encode_prompt([""]), supir.time_ids(64, 64, 1))


def latents(supir, *, x_in=None, z_lq=None, width=48, sizes=1, device="cpu"):
    text = TextConditioning(torch.zeros(1, 77, width), torch.zeros(1, 32))
    x_in = torch.zeros(1, 8, 8, 8) if x_in is None else x_in
    z_lq = (torch.zeros(1, 8, 8, 8) if z_lq is None else z_lq).to(device)
    return supir.predict_eps(x_in, torch.tensor([1]), z_lq, text, supir.time_ids(64, 64, sizes))


def test_a_run_computes_text_size_and_hint_once_and_both_branches_share_the_first_convolutions(supir):
    calls: dict[str, list[int]] = {}
    parts = {
        "hint": supir.control.hint,
        "control size": supir.control.add_embedding,
        "unet size": supir.unet.add_embedding,
        "control first": supir.control.conv_in,
        "unet first": supir.unet.conv_in,
        "control": supir.control,
    }
    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: calls.setdefault(name, []).append(len(out)))
        for name, part in parts.items()
    ]
    x, z_lq = noise(2, 1, 8, 16, 16)
    text = supir.encode_prompt(["blurry", "a cat"])
    denoise = guided(
        supir,
        z_lq,
        positive=text[1:],
        negative=text[:1],
        time_ids=supir.time_ids(128, 128, 1),
        guidance_scale=LinearScale(4.0, 4.0),
        control_scale=LinearScale(1.0, 1.0),
    )
    sample_edm(denoise, x, sampling_sigmas(3), noise=torch.zeros_like)
    for handle in handles:
        handle.remove()
    assert calls["hint"] == [1]
    assert calls["control size"] == calls["unet size"] == [2]
    assert calls["control first"] == calls["unet first"] == [1, 1, 1]
    assert calls["control"] == [10, 10, 10]  # ten maps a step


def test_every_attention_runs_through_scaled_dot_product_attention(supir):
    attentions = [
        module
        for part in (supir.unet, supir.control, supir.connectors)
        for module in part.modules()
        if isinstance(module, Attention)
    ]
    assert len(attentions) > 10
    assert {type(attention.processor) for attention in attentions} == {AttnProcessor2_0}
