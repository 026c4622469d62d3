"""Prompts of any length, against diffusers' own SDXL encoding where that is defined."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from supir_model import load_supir
from supir_model.load import TOKENIZER
from supir_model.prompts import (
    NEGATIVE_PROMPT,
    NEGATIVE_QUALITY_WORDS,
    NEGATIVE_TERMS,
    POSITIVE_SUFFIX,
    positive_prompt,
)

LONG = "a red fox crosses an old stone bridge at dawn while mist rises from the river below and " * 6


@pytest.fixture(scope="module")
def supir():
    return load_supir(preset="tiny")


def test_short_prompts_are_encoded_as_diffusers_encodes_them(supir):
    second = type(supir.text.tokenizer).from_pretrained(TOKENIZER, pad_token="!")  # SDXL's second tokenizer
    pipeline = StableDiffusionXLPipeline(
        vae=supir.vae,
        text_encoder=supir.text.text_encoder,
        text_encoder_2=supir.text.text_encoder_2,
        tokenizer=supir.text.tokenizer,
        tokenizer_2=second,
        unet=supir.unet,
        scheduler=None,
        add_watermarker=False,
    )
    # no "!" in the text: there diffusers takes it for padding, unlike the original tokenizer and ours
    prompts = ["a cat on a wall", "", "Two dogs, oil painting (1890)"]
    context, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    ours = supir.encode_prompt(prompts)
    torch.testing.assert_close(ours.context, context, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.pooled, pooled, rtol=0, atol=1e-6)


def test_the_suffix_of_a_long_caption_is_encoded_in_full(supir):
    words = LONG.split()
    while supir.text.num_tokens(" ".join(words)) > 75:
        words.pop()
    caption = " ".join(words)
    filler = " a" * (75 - supir.text.num_tokens(caption))
    assert supir.text.num_tokens(caption + filler) == 75
    whole = supir.encode_prompt([f"{caption}{filler} sharp detailed photo"]).context
    alone = supir.encode_prompt(["sharp detailed photo"]).context
    assert whole.shape[1] == 154
    assert torch.allclose(whole[:, 77:], alone, atol=1e-6)


def test_the_last_word_of_the_suffix_counts_behind_a_long_caption(supir):
    assert supir.text.num_tokens(LONG) > 77
    prompt = positive_prompt(LONG)
    wished, changed = (
        supir.encode_prompt([text]).context for text in (prompt, prompt.replace("deformations", "flaws"))
    )
    assert wished.shape == changed.shape
    assert torch.equal(wished[:, :-77], changed[:, :-77])
    assert (wished[:, -77:] - changed[:, -77:]).abs().max() > 0.01


def test_no_prompt_at_all_is_refused(supir):
    with pytest.raises(ValueError, match="no prompts given"):
        supir.encode_prompt([])


def test_prompt_constants_hold_the_documented_words():
    assert positive_prompt("A cat.").startswith("A cat. Cinematic, ")
    assert positive_prompt("") == POSITIVE_SUFFIX
    assert POSITIVE_SUFFIX.endswith("perfect without deformations.")
    assert len(NEGATIVE_TERMS) == len(set(NEGATIVE_TERMS)) == 22
    assert NEGATIVE_PROMPT.endswith("lowres, over-smooth")
    assert len(NEGATIVE_QUALITY_WORDS) == 10
    assert set(NEGATIVE_QUALITY_WORDS) < set(NEGATIVE_TERMS)


@pytest.mark.skipif(
    find_spec("open_clip") is None, reason="open_clip, which ships CLIP's merges, is not installed"
)
def test_the_small_vocabulary_is_the_head_of_the_clip_merges():
    source = Path(find_spec("open_clip").origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")[1:3583]
    model = json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]
    assert [" ".join(pair) for pair in model["merges"]] == lines
    assert len(model["vocab"]) == 4096
    assert model["vocab"]["<|endoftext|>"] == 4095
