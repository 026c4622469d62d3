"""Both SDXL text encoders behind one call, with prompts of any length.

Place in the flow: `Supir.encode_prompt` uses it; the UNet and the control encoder read `context`, the size
embedding reads `pooled`.
Law: no word is cut. A prompt is encoded in chunks of 75 tokens (77 with start and end), the chunks' contexts
follow each other. A shorter prompt of the same call repeats its chunks: attention over keys that are repeated
equally often gives the same result, so a prompt does not depend on its neighbours.
Source: SDXL (Podell et al. 2023, section 2.1): penultimate layers of both encoders side by side, pooled output
of the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

CHUNK = 75
"""Tokens of text in a chunk; with start and end token the encoders' 77 positions."""
SECOND_PAD = 0
"""The second encoder pads with token 0 ("!"), the first with the end token."""


@dataclass(frozen=True)
class TextConditioning:
    """Encoded prompts: `context` (B, 77·k, D) for cross-attention, `pooled` (B, P) of each first chunk."""

    context: Tensor
    pooled: Tensor

    def __getitem__(self, rows: slice) -> TextConditioning:
        """The conditioning of some prompts of the batch."""
        return TextConditioning(self.context[rows], self.pooled[rows])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextConditioning:
        """The same conditioning elsewhere or in another precision."""
        return TextConditioning(self.context.to(device, dtype), self.pooled.to(device, dtype))


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
        """The conditioning of one or more prompts, all with the same number of chunks.

        Raises:
            ValueError: no prompt given, or a text in place of a list of them.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts={prompts[:40]!r} is one text; give a list, [{prompts[:40]!r}]")
        if not prompts:
            raise ValueError('no prompts given (0 seen, 1 or more allowed); use [""] for an empty prompt')
        chunked = [_chunks(self._token_ids(prompt)) for prompt in prompts]
        context, pooled = self._encode([chunk for chunks in chunked for chunk in chunks])
        common = math.lcm(*(len(chunks) for chunks in chunked))
        rows, firsts, start = [], [], 0
        for chunks in chunked:
            row = context[start : start + len(chunks)].flatten(0, 1)
            rows.append(row.repeat(common // len(chunks), 1))
            firsts.append(pooled[start])
            start += len(chunks)
        return TextConditioning(torch.stack(rows), torch.stack(firsts))

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
