"""The peer of train_data.py: a webdataset loop as its users write one, without anything of the trainer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import webdataset

from supir_degrade import degrade, load_recipe, sample_generator


def plain_loop(tar: str, workers: int, *, crop_px: int, batch: int, recipe: str) -> Iterator[object]:
    """Batches of (HQ, LQ), without end."""
    pipeline = (
        webdataset.WebDataset(tar, shardshuffle=False, seed=0)
        .repeat()
        .shuffle(100)
        .decode("rgb8")
        .map(PlainPair(crop_px, recipe))
        .batched(batch)
    )
    return iter(webdataset.WebLoader(pipeline, batch_size=None, num_workers=workers))


class PlainPair:
    """Makes the pair of a decoded sample."""

    def __init__(self, crop_px: int, recipe: str) -> None:
        self._crop_px, self._recipe = crop_px, load_recipe(recipe)
        self._given = 0

    def __call__(self, sample: dict[str, object]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns HQ and LQ, uint8 (3, S, S)."""
        self._given += 1
        rng = sample_generator(0, str(sample["__key__"]), self._given)
        image = np.asarray(sample["jpg"])
        side = self._crop_px
        y, x = (int(rng.integers(0, size - side + 1)) for size in image.shape[:2])
        hq = image[y : y + side, x : x + side]
        hq = np.ascontiguousarray(hq[:, ::-1] if rng.random() < 0.5 else hq)
        lq, _ = degrade(hq, self._recipe, rng)
        return tuple(torch.from_numpy(picture).permute(2, 0, 1) for picture in (hq, lq))
