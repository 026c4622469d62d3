"""Crops of several draws become a batch, and too many draws without a crop end the run.

The law it keeps: a sample that cannot be used is reported in its batch, never replaced.

Legend: B images a batch, S crop side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from supir_console import UserError
from supir_train.batch import Batch
from supir_train.crop_maker import BadSample, Made
from supir_train.order import Draw

MOST_BAD_IN_A_ROW = 256
"""So many samples without a crop between them mean that the dataset is wrong, and not a sample."""


def collate(draws: Sequence[Draw], made: Sequence[Made]) -> Batch:
    """Returns what was made of several draws as one batch, smaller where samples are bad."""
    crops = [crop for result in made if not isinstance(result, BadSample) for crop in result]
    return Batch(
        numbers=tuple(crop.number for crop in crops),
        keys=tuple(crop.key for crop in crops),
        boxes=tuple(crop.box for crop in crops),
        traces=tuple(crop.trace for crop in crops if crop.trace is not None),
        hq=_tensor([crop.hq for crop in crops]),
        lq=_tensor(lq) if (lq := [crop.lq for crop in crops if crop.lq is not None]) else None,
        prompts=tuple(crop.prompt for crop in crops),
        bad=tuple(result for result in made if isinstance(result, BadSample)),
        position=draws[-1].position,
    )


def checked(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yields the batches, as long as not too many samples in a row were bad."""
    bad: list[BadSample] = []
    for batch in batches:
        bad = list(batch.bad) if batch.keys else [*bad, *batch.bad]
        if len(bad) >= MOST_BAD_IN_A_ROW:
            raise nothing_usable(bad)
        yield batch


def nothing_usable(bad: Sequence[BadSample]) -> UserError:
    """Returns what ends a run whose samples give no crop, told by the first of them."""
    first = bad[0]
    return UserError(
        f"none of {len(bad)} samples in a row could be used, the first because: {first.key} of {first.part}: "
        f"{first.reason}; check the dataset, and that its images are not smaller than data.crop_px"
    )


def _tensor(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    if not images:
        return torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    # Pixels stay side by side in memory, which is the layout that the networks are held in.
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
