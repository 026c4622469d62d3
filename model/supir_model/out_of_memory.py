"""How a refusal of memory is told from other errors, on any device.

Place in the flow: `train` and `infer` go on with less at once where it says so.
"""

from __future__ import annotations

import torch

REFUSALS = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory", "std::bad_alloc")
"""Words of those whose refusal has no type of its own."""

ONEDNN_REFUSALS = ("could not create a primitive", "could not execute a primitive")
"""All that oneDNN says where the system refuses it pages, as under `ulimit -v`.

With more words it says another thing: "could not create a primitive descriptor" is of a shape without a kernel.
A system that denies executable pages (https://github.com/pytorch/pytorch/issues/143651) says the same at any size."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device, or main memory, had no more to give."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or any(words in text for words in REFUSALS)
        or text.strip() in ONEDNN_REFUSALS
    )
