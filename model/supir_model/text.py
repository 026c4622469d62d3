"""Both SDXL text encoders behind one call, with prompts of any length.

Place in the flow: `Supir.encode_prompt` uses it; the UNet and the control encoder read `context`, the size
embedding reads `pooled`.
Law: no word is cut. A prompt is encoded in chunks of 75 tokens (77 with start and end), the chunks' contexts
follow each other. A batch is as long as its longest prompt; the tokens behind a shorter one are masked in every
attention, so a prompt depends neither on its neighbours nor on the guidance's other branch. Where all are equally
long there is no mask.
Source: SDXL (Podell et al. 2023, section 2.1): penultimate layers of both encoders side by side, pooled output
of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

CHUNK = 75
"""Tokens of text in a chunk; with start and end token the encoders' 77 positions."""
SECOND_PAD = 0
"""The second encoder pads with token 0 ("!"), the first with the end token."""


@dataclass(frozen=True)
class TextConditioning:
    """Encoded prompts.

    Args:
        context: (B, T, D) for cross-attention, T = 77·k of the longest prompt.
        pooled: (B, P) of each first chunk.
        mask: (B, T) bool, True on a prompt's own tokens; None where every prompt fills the context.
    """

    context: Tensor
    pooled: Tensor
    mask: Tensor | None = None

    def __getitem__(self, rows: slice) -> TextConditioning:
        """The conditioning of some prompts of the batch, as long as the longest of them."""
        context, mask = trimmed(self.context[rows], None if self.mask is None else self.mask[rows])
        return TextConditioning(context, self.pooled[rows], mask)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextConditioning:
        """The same conditioning elsewhere or in another precision."""
        mask = None if self.mask is None else self.mask.to(device)
        return TextConditioning(self.context.to(device, dtype), self.pooled.to(device, dtype), mask)

    def repeat(self, copies: int) -> TextConditioning:
        """`copies` times the prompts, one batch after the other."""
        mask = None if self.mask is None else self.mask.repeat(copies, 1)
        return TextConditioning(self.context.repeat(copies, 1, 1), self.pooled.repeat(copies, 1), mask)


def joined(*conditionings: TextConditioning) -> TextConditioning:
    """The prompts of several conditionings in one batch, whatever their lengths."""
    pooled = torch.cat([one.pooled for one in conditionings])
    if len({one.context.shape[1] for one in conditionings}) == 1 and all(
        one.mask is None for one in conditionings
    ):
        return TextConditioning(torch.cat([one.context for one in conditionings]), pooled)
    context = pad_sequence([row for one in conditionings for row in one.context], batch_first=True)
    masks = [
        one.context.new_ones(one.context.shape[:2], dtype=torch.bool) if one.mask is None else one.mask
        for one in conditionings
    ]
    mask = pad_sequence([row for rows in masks for row in rows], batch_first=True)
    return TextConditioning(context, pooled, mask)


def trimmed(context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Context and mask without the positions that no row uses; the mask is None where nothing is left to mask."""
    if mask is None:
        return context, None
    longest = int(mask.any(dim=0).sum())
    context, mask = context[:, :longest], mask[:, :longest]
    return context, None if bool(mask.all()) else mask


class TextEncoders(nn.Module):
    """Tokenizer and the two encoders.

    Args:
        tokenizer: CLIP BPE; both encoders share its vocabulary.
        text_encoder: CLIP-L of SDXL, or a small one.
        text_encoder_2: bigG of SDXL with its projection, or a small one.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2

    def num_tokens(self, prompt: str) -> int:
        """Tokens of a prompt without start and end; 75 fill one chunk."""
        return len(self._token_ids(prompt))

    def forward(self, prompts: Sequence[str]) -> TextConditioning:
        """The conditioning of one or more prompts, as long as the longest of them.

        Raises:
            ValueError: no prompt given, or a text in place of a list of them.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts={prompts[:40]!r} is one text; give a list, [{prompts[:40]!r}]")
        if not prompts:
            raise ValueError('no prompts given (0 seen, 1 or more allowed); use [""] for an empty prompt')
        chunked = [_chunks(self._token_ids(prompt)) for prompt in prompts]
        context, pooled = self._encode([chunk for chunks in chunked for chunk in chunks])
        counts = [len(chunks) for chunks in chunked]
        rows = [own.flatten(0, 1) for own in context.split(counts)]
        firsts = torch.stack([own[0] for own in pooled.split(counts)])
        padded = pad_sequence(rows, batch_first=True)
        if len(set(counts)) == 1:
            return TextConditioning(padded, firsts)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        return TextConditioning(padded, firsts, mask.to(padded.device))

    def _token_ids(self, prompt: str) -> list[int]:
        # verbose=False: longer than 77 is normal here, the tokenizer need not warn
        return list(self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])

    def _encode(self, chunks: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Context (N, 77, D) and pooled (N, P) of N chunks."""
        device = self.text_encoder.device
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id

        def ids(pad: int) -> Tensor:
            rows = [[start, *chunk, end, *[pad] * (CHUNK - len(chunk))] for chunk in chunks]
            return torch.tensor(rows, device=device)

        first = self.text_encoder(ids(end), output_hidden_states=True)
        second = self.text_encoder_2(ids(SECOND_PAD), output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return context, second.text_embeds


def _chunks(token_ids: list[int]) -> list[list[int]]:
    """Runs of at most 75 tokens; one empty run for an empty prompt."""
    return [token_ids[i : i + CHUNK] for i in range(0, max(1, len(token_ids)), CHUNK)]
