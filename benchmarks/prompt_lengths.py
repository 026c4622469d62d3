"""Claim: a batch of prompts of 1 to 7 chunks steps at most 1.3 x as long as one in which all have 7.

Peers: the same number of prompts that all have the longest one's chunks, which needs no mask and is the least that one
batch can cost, and the prompts one by one.
Run: python benchmarks/prompt_lengths.py [--size 64] [--rounds 5]

The embedded mini model with its control at scale 1; a step is one `denoise` of the batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from common import race, show

from supir_model import Supir, TextConditioning, load_supir

LONGEST, SIGMA = 7, 2.0
MIXED, EQUAL, ONE_BY_ONE = "1 to 7 chunks", "7 chunks each", "one by one"
WORDS = "a red fox crosses an old stone bridge at dawn while mist rises from the river "


def main() -> None:
    """Prints the time of a step of the three sides."""
    parser = argparse.ArgumentParser(description="Time of a step over prompts of different lengths.")
    parser.add_argument("--size", type=int, default=64, help="side of the image, px")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    supir = load_supir(preset="mini")
    texts = [_prompt(supir, chunks) for chunks in range(1, LONGEST + 1)]
    with torch.no_grad():
        mixed, equal = supir.encode_prompt(texts), supir.encode_prompt(texts[-1:] * LONGEST)
    print(f"tokens of a prompt: {mixed.context.shape[1]} mixed, {equal.context.shape[1]} equal")
    z_lq = torch.randn(LONGEST, supir.latent_channels, options.size // 8, options.size // 8)

    def step(text: TextConditioning, rows: slice) -> None:
        count = len(z_lq[rows])
        supir.denoise(z_lq[rows], SIGMA, z_lq[rows], text, supir.time_ids(options.size, options.size, count))

    whole = slice(None)
    rows = [slice(row, row + 1) for row in range(LONGEST)]
    alone = [mixed[row] for row in rows]
    sides: dict[str, Callable[[], object]] = {
        EQUAL: lambda: step(equal, whole),
        MIXED: lambda: step(mixed, whole),
        ONE_BY_ONE: lambda: [step(text, row) for text, row in zip(alone, rows, strict=True)],
    }
    show("prompts of different lengths", race(sides, options.rounds), peer=EQUAL, count=1, unit="steps")


def _prompt(supir: Supir, chunks: int) -> str:
    words = (WORDS * 8 * chunks).split()
    while supir.text.num_tokens(" ".join(words)) > 75 * chunks:
        words.pop()
    return " ".join(words)


if __name__ == "__main__":
    main()
