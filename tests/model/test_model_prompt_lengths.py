"""Prompts of different lengths in one batch: each has the result that it has alone, at the cost of the longest."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from supir_model import TextConditioning, load_supir
from supir_model.calibrate import Noised, calibrate_connectors
from supir_model.guidance import LinearScale, guided
from supir_model.memory import compile_blocks, offload, store_in_float8
from supir_model.text import joined

WORDS = "red fox crosses old stone bridge while mist rises".split()  # noqa: SIM905 - reads as a text
SAME = partial(torch.testing.assert_close, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def original():
    supir = load_supir(preset="tiny", seed=3)
    generator = torch.Generator().manual_seed(11)
    for part in (supir.connectors, supir.control.hint):
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    for name, parameter in supir.named_parameters():
        if "attn2.to_out" in name or "attn2.to_q" in name:
            parameter.data *= 8  # a random network hardly listens to its text
    return supir


@pytest.fixture
def supir(original):
    return copy.deepcopy(original)


def prompt(supir, chunks):
    """A text that fills `chunks` chunks, of other words for another number."""
    words = (WORDS[chunks:] + WORDS[:chunks]) * 40
    while supir.text.num_tokens(" ".join(words)) > 75 * chunks - 20:
        words.pop()
    return " ".join(words)


def prompts(supir, *chunks):
    return [prompt(supir, count) for count in chunks]


def noise(*shape, seed=5):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def eps(supir, text, x):
    count = len(x)
    timestep = torch.full((count,), 400)
    return supir.predict_eps(x, timestep, x.roll(1, -1), text, supir.time_ids(128, 128, count))


def alone(supir, texts, x):
    return torch.cat(
        [eps(supir, supir.encode_prompt([text]), x[row : row + 1]) for row, text in enumerate(texts)]
    )


@torch.no_grad()
def test_each_of_seven_lengths_has_the_result_that_it_has_alone(supir):
    texts, x = prompts(supir, *range(1, 8)), noise(7, 8, 16, 16)
    together = supir.encode_prompt(texts)
    assert together.context.shape[1] == 7 * 77
    assert together.mask.sum(dim=1).tolist() == [77 * chunks for chunks in range(1, 8)]
    SAME(eps(supir, together, x), alone(supir, texts, x))
    unmasked = replace(together, mask=None)
    assert (eps(supir, unmasked, x) - eps(supir, together, x))[:6].abs().amax(dim=(1, 2, 3)).min() > 1e-3


@torch.no_grad()
def test_without_control_too(supir):
    texts, x = prompts(supir, 3, 1, 2), noise(3, 8, 16, 16)
    ids = supir.time_ids(128, 128, 3)
    together = supir.predict_eps(x, torch.tensor([400] * 3), None, supir.encode_prompt(texts), ids)
    for row, text in enumerate(texts):
        one = supir.predict_eps(
            x[row : row + 1], torch.tensor([400]), None, supir.encode_prompt([text]), ids[:1]
        )
        SAME(together[row : row + 1], one)


@pytest.mark.parametrize("lengths", [(1, 1), (3, 3)])
@torch.no_grad()
def test_prompts_of_one_length_run_without_a_mask(supir, monkeypatch, lengths):
    text = supir.encode_prompt(prompts(supir, *lengths))
    assert text.mask is None
    assert text.context.shape[1] == 77 * lengths[0]
    masks = []
    inner = AttnProcessor2_0.__call__

    def watched(self, attention, hidden, encoder_hidden_states=None, attention_mask=None, **rest):
        masks.append(attention_mask)
        return inner(self, attention, hidden, encoder_hidden_states, attention_mask, **rest)

    monkeypatch.setattr(AttnProcessor2_0, "__call__", watched)
    eps(supir, text, noise(2, 8, 16, 16))
    assert len(masks) > 10
    assert set(masks) == {None}


@pytest.mark.parametrize(("positive", "negative"), [((1, 2), (3, 3)), ((4, 1), (1, 1)), ((2, 2), (1, 3))])
@torch.no_grad()
def test_guidance_takes_a_negative_prompt_of_another_length(supir, positive, negative):
    x, z_lq = noise(2, 8, 16, 16), noise(2, 8, 16, 16, seed=6)
    ids, texts = supir.time_ids(128, 128, 2), (prompts(supir, *positive), prompts(supir, *negative))
    denoise = guided(
        supir,
        z_lq,
        *map(supir.encode_prompt, texts),
        ids,
        guidance_scale=LinearScale(4.0, 4.0),
        control_scale=LinearScale(1.0, 1.0),
    )
    together = denoise(x, 2.0, 2.0)
    for row in range(2):
        one = slice(row, row + 1)
        cond, uncond = (
            supir.denoise(x[one], 2.0, z_lq[one], supir.encode_prompt([side[row]]), ids[one])
            for side in texts
        )
        torch.testing.assert_close(together[one], uncond + 4 * (cond - uncond), rtol=0, atol=5e-5)


@torch.no_grad()
def test_the_positive_branch_alone_is_as_long_as_its_own_prompts(supir):
    z_lq, texts = noise(1, 8, 16, 16), prompts(supir, 4, 1)
    both = joined(*(supir.encode_prompt([text]) for text in texts))
    prepared = supir.prepare(z_lq, both, supir.time_ids(128, 128, 2))
    assert prepared.mask.sum(dim=1).tolist() == [4 * 77, 77]
    positive = prepared.under(slice(1, None))
    assert positive.context.shape == (1, 77, 48)
    assert positive.mask is None
    SAME(
        supir.denoise_prepared(z_lq, 2.0, positive),
        supir.denoise(z_lq, 2.0, z_lq, supir.encode_prompt(texts[1:]), supir.time_ids(128, 128, 1)),
    )


def test_a_slice_keeps_the_length_of_its_longest_prompt(supir):
    text = supir.encode_prompt(prompts(supir, 1, 3, 2))
    assert [text[rows].context.shape[1] // 77 for rows in (slice(0, 1), slice(0, 2), slice(2, 3))] == [
        1,
        3,
        2,
    ]
    assert text[2:].mask is None
    assert text[:2].repeat(2).mask.sum(dim=1).tolist() == [77, 231, 77, 231]
    assert text.to("cpu", torch.bfloat16).mask.dtype == torch.bool


def test_a_mask_of_other_prompts_is_refused(supir):
    text = supir.encode_prompt(prompts(supir, 1, 2))
    wrong = TextConditioning(text.context[:1], text.pooled[:1], text.mask)
    with pytest.raises(
        ValueError, match=r"mask of the text has shape \[2, 154\], its context \[1, 154\]; slice"
    ):
        supir.prepare(None, wrong, supir.time_ids(64, 64, 1))


MEANS = {
    "compiled": lambda supir, _: compile_blocks(supir, backend="aot_eager", fullgraph=True),
    "float8": lambda supir, _: store_in_float8(supir, torch.float32),
    "offloaded": lambda supir, folder: offload(supir, "cpu", folder),
}


@pytest.mark.parametrize("means", MEANS)
@torch.no_grad()
def test_compiled_8_bit_and_offloaded_networks_mask_as_well(supir, means, tmp_path):
    torch.compiler.reset()
    MEANS[means](supir, tmp_path)
    texts, x = prompts(supir, 1, 3), noise(2, 8, 16, 16)
    SAME(eps(supir, supir.encode_prompt(texts), x), alone(supir, texts, x))


@torch.no_grad()
def test_reduced_precision_masks_as_well(supir):
    texts, x = prompts(supir, 1, 3), noise(2, 8, 16, 16)
    text = supir.encode_prompt(texts)
    expected = eps(supir, text, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert (eps(supir, text, x) - expected).norm() < 0.05 * expected.norm()
    supir.unet.to(torch.bfloat16), supir.control.to(torch.bfloat16), supir.connectors.to(torch.bfloat16)
    assert (eps(supir, text, x.bfloat16()).float() - expected).norm() < 0.05 * expected.norm()


def test_gradients_are_those_of_the_prompts_alone_also_when_activations_are_computed_again(supir):
    texts, x = prompts(supir, 1, 3), noise(2, 8, 16, 16)
    parameters = supir.trainable("adapter").values()

    def gradients(predicted):
        return [grad.clone() for grad in torch.autograd.grad(predicted.square().sum(), list(parameters))]

    expected = gradients(alone(supir, texts, x))
    supir.unet.enable_gradient_checkpointing()
    supir.control.enable_gradient_checkpointing()
    supir.train()
    together = gradients(eps(supir, supir.encode_prompt(texts), x))
    for ours, theirs in zip(together, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()) + 1e-6)


def test_new_connectors_are_fitted_to_prompts_of_any_length(supir):
    texts, x = prompts(supir, 1, 3), noise(2, 8, 16, 16)
    seen = []
    supir.control.mid_block.attentions[0].register_forward_pre_hook(
        lambda _module, _inputs, named: seen.append(named["encoder_attention_mask"]), with_kwargs=True
    )
    noised = Noised(
        x_in=x,
        timestep=torch.tensor([100, 800]),
        conditioning=supir.encode_prompt(texts),
        time_ids=supir.time_ids(64, 64, 2),
    )
    calibrate_connectors(supir, [noised])
    assert seen[0].sum(dim=1).tolist() == [77, 231]
