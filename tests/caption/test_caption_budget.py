"""The short text: exact token counts, the cut at sentences and clauses, and the law of the 75 tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_caption.budget import facts, shorten
from supir_caption.clip_tokens import CountTokens, TokenCounts
from supir_caption.config import CLIP_CONTEXT_TOKENS, QUALITY_SUFFIX_TOKENS, CaptionConfig
from supir_model.prompts import positive_prompt

LONG = (
    "The image features a red fox standing in a snowy forest. It looks to the left, its ears raised and its tail low. "
    "Behind it, tall spruce trees stand close together. The light falls from the right through the branches."
)


def test_counts_are_those_of_the_clip_vocabulary(count: CountTokens):
    import open_clip

    for text in ("a photo of a cat", LONG, "Ünïcode – “quotes”, 3.14 & 100%"):
        padded = open_clip.tokenize(text)[0]
        assert count(text).clip_g == int((padded != 0).sum()) - 2
    assert count("a photo of a cat") == TokenCounts(5, 5)
    assert count(LONG) == TokenCounts(46, 46)


def test_the_two_tokenizers_may_differ_and_the_larger_counts(count: CountTokens):
    # open_clip reads the entity as "&" and straightens quotes, transformers takes both as they stand.
    assert count("salt &amp; pepper") == TokenCounts(5, 3)
    assert count("salt &amp; pepper").largest == 5
    assert count("“salt”") == TokenCounts(5, 3)


def test_facts_are_the_sentences_without_their_lead_in():
    text = "The image shows a fox.\nIn the image, there are trees behind Mr. Fox. Snow lies at 3 p.m. on St. Moritz."
    assert facts(text) == ["A fox.", "Trees behind Mr. Fox.", "Snow lies at 3 p.m. on St. Moritz."]


def test_a_text_within_the_budget_is_kept_whole(count: CountTokens):
    short = shorten(facts(LONG), count, 75)
    assert short.text == " ".join(facts(LONG))
    assert (short.num_facts, short.counts.largest) == (4, 43)


@pytest.mark.parametrize(
    ("limit", "expected", "num_facts"),
    [
        (34, " ".join(facts(LONG)[:3]), 3),
        (20, f"{facts(LONG)[0]} It looks to the left, its ears raised.", 1),
        (16, f"{facts(LONG)[0]} It looks to the left.", 1),
        (12, facts(LONG)[0], 1),
        (6, "A red fox standing in a", 0),
    ],
)
def test_the_cut_falls_on_a_sentence_then_a_clause_then_a_word(
    count: CountTokens, limit: int, expected: str, num_facts: int
):
    short = shorten(facts(LONG), count, limit)
    assert (short.text, short.num_facts) == (expected, num_facts)
    assert short.counts.largest <= limit


def test_one_endless_word_is_cut_rather_than_dropped(count: CountTokens):
    short = shorten(["ab1" * 400], count, 75)
    assert ("ab1" * 400).startswith(short.text)
    assert 70 <= short.counts.largest <= 75


def test_no_fact_gives_no_text(count: CountTokens):
    assert shorten([], count, 75).text == ""


WORDS = st.sampled_from(
    ["a", "fox", "snow-covered", "Zürich", "xqzjv", "and", "with", "3.5", "&amp;", "—", "日本", ";"]
)


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.lists(st.lists(WORDS, min_size=1, max_size=60).map(" ".join), max_size=6),
    limit=st.integers(1, 75),
)
def test_never_above_the_budget_and_always_a_start_of_the_facts(
    count: CountTokens, sentences: list[str], limit: int
):
    short = shorten(sentences, count, limit)
    assert short.counts == count(short.text)
    assert short.counts.largest <= limit
    whole = " ".join(sentences)
    assert whole.startswith((short.text, short.text.removesuffix(".")))
    assert short.num_facts <= len(sentences)
    if short.num_facts == len(sentences):
        assert short.text == whole


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "A tabby cat rests on a grey wool blanket beside a window with a view of a garden in late autumn light.",
        "Un zorro rojo está sentado en la nieve, junto a un árbol muy viejo, y mira hacia la cámara.",
        "一只红色的狐狸坐在雪地里，旁边是一棵古老的树，远处有山。",
        "Wow! A red fox!",
    ],
)
def test_by_default_the_quality_suffix_fits_behind_the_short_text_for_both_encoders(count, text: str):
    short = shorten(facts(text), count, CaptionConfig().short_tokens)
    assert short.text
    assert count(positive_prompt(short.text)).largest <= CLIP_CONTEXT_TOKENS
    assert count(positive_prompt("a fox")).largest - count("a fox").largest == QUALITY_SUFFIX_TOKENS
