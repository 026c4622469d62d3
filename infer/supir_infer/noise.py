"""The noise of a restoration: one CPU generator for each picture and purpose, so that a device changes rounding only.

Place in the flow: `restore` draws all its random numbers here; a recorded run is replayed by giving other sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from supir_model.sampler import NoiseSource, generator_noise

_PURPOSES = ("posterior", "start", "steps")


@dataclass(frozen=True, slots=True)
class Noise:
    """The three places a restoration draws unit normal noise from."""

    posterior: NoiseSource
    start: NoiseSource
    steps: NoiseSource


def noise_of(seeds: Sequence[int]) -> Noise:
    """Returns the noise of a batch, one seed a picture."""
    return Noise(*(generator_noise([_generator(seed, purpose) for seed in seeds]) for purpose in _PURPOSES))


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for each purpose, so that switching one of them off moves no other."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
