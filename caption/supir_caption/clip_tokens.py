"""How many tokens SDXL's two text encoders make of a text, with the `tokenizers` package and the vocabulary alone.

Both use the CLIP byte-pair vocabulary but clean a text differently: CLIP-L as transformers' `CLIPTokenizer` (diffusers,
ComfyUI) and bigG as open_clip's `SimpleTokenizer` (generative-models). The classes themselves would bring torch into
every captioning process. The vocabulary is the file in open_clip's wheel, so nothing is fetched.

Source: `transformers/models/clip/tokenization_clip.py`, `open_clip/tokenizer.py`; the counts are theirs.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supir_console import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

_NUM_MERGES = 49152 - 256 - 2
_WORDS = r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_ENDS = ("<|startoftext|>", "<|endoftext|>")
_ENDS_OF_OPEN_CLIP = ("<start_of_text>", "<end_of_text>")


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one text without the start and the end token, as each encoder's tokenizer counts them."""

    clip_l: int
    clip_g: int

    @property
    def largest(self) -> int:
        """The larger of the two counts."""
        return max(self.clip_l, self.clip_g)


CountTokens = Callable[[str], TokenCounts]


def clip_token_counter() -> CountTokens:
    """Returns the function that counts a text's CLIP tokens with both tokenizers of SDXL.

    Raises:
        UserError: open_clip is not installed.
    """
    model = _byte_pairs()
    count_l, count_g = _counter_of_clip_l(model), _counter_of_clip_g(model)
    return lambda text: TokenCounts(count_l(text), count_g(text))


def _counter_of_clip_l(model: BPE) -> Callable[[str], int]:
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    ends = "|".join(end.replace("|", r"\|") for end in _ENDS)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ends + _WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(end, special=True, normalized=False) for end in _ENDS])
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _counter_of_clip_g(model: BPE) -> Callable[[str], int]:
    import ftfy
    import regex
    from tokenizers import Tokenizer, pre_tokenizers

    tokenizer: Tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = regex.compile("|".join(_ENDS_OF_OPEN_CLIP) + _WORDS, regex.IGNORECASE)

    def count(text: str) -> int:
        clean = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
        found = words.findall(clean)
        plain = [word for word in found if word not in _ENDS_OF_OPEN_CLIP]
        ids = tokenizer.encode(plain, is_pretokenized=True, add_special_tokens=False).ids
        return len(found) - len(plain) + len(ids)

    return count


def _byte_pairs() -> BPE:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError(
            "counting CLIP tokens needs open_clip's vocabulary; type: pip install 'supir-stack[caption]'"
        )
    from tokenizers.models import BPE

    packed = Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")
    merges = [(first, second) for first, second in map(str.split, lines[1 : 1 + _NUM_MERGES])]
    letters = list(_letters())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), *_ENDS]
    numbers = {token: index for index, token in enumerate(vocabulary)}
    return BPE(vocab=numbers, merges=merges, end_of_word_suffix="</w>", unk_token=_ENDS[1])


def _letters() -> Iterator[str]:
    """The 256 letters that stand for bytes, in the vocabulary's order: what can be shown first, then the rest."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, shown)
    yield from (chr(256 + number) for number in range(256 - len(shown)))
