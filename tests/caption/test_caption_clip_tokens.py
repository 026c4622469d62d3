"""Token counts beside the two classes whose counts they are, on texts made of what they treat differently."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supir_caption.clip_tokens import CountTokens, TokenCounts

PARTS = st.sampled_from(
    [
        *(
            "a fox",
            "it's",
            "IT'S",
            "'ll",
            "don't",
            "'ſ",
            "3",
            "1234",
            "½",
            "٣",
            "ⅷ",
            "_",
            "-",
            "…",
            "😀",
            "👩‍👩‍👧",
        ),
        *(
            " ",
            "  ",
            "\n",
            "\t",
            "\u00a0",
            "\u3000",
            "\u200b",
            "\ufeff",
            "\x00",
            "\u0301",
            "é",
            "e\u0301",
            "ﬁ",
            "İ",
            "ß",
        ),
        *("&amp;", "&amp;lt;", "â€™", "Ã©", "“q”", "日本", "ไทย", "हिन्दी", "한국", "ΑΣ", "K"),
        *("<|startoftext|>", "<|ENDOFTEXT|>", "<start_of_text>", "<END_OF_TEXT>"),
    ]
)


@pytest.fixture(scope="module")
def of_the_classes():
    """Counts as transformers' `CLIPTokenizer` and open_clip's `SimpleTokenizer` make them."""
    open_clip = pytest.importorskip("open_clip")
    from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
    from transformers import CLIPTokenizer

    packed = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    merges = [
        tuple(line.split()) for line in gzip.decompress(packed).decode().split("\n")[1 : 49152 - 256 - 1]
    ]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    clip_l = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)
    clip_g = SimpleTokenizer()
    assert len(words) == clip_g.vocab_size == 49408

    def count(text: str) -> TokenCounts:
        ids = clip_l(text, add_special_tokens=False)["input_ids"]
        return TokenCounts(len(ids), len(clip_g.encode(text)))

    return count


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(st.lists(PARTS, max_size=9).map("".join), st.text(max_size=20)))
@example(text="")
def test_counts_are_those_of_the_two_classes(count: CountTokens, of_the_classes: CountTokens, text: str):
    assert count(text) == of_the_classes(text)
