"""How a refusal of memory is told from other errors, on any device.

Place in the flow: `train` and `infer` go on with less at once where it says so.
"""

from __future__ import annotations

import torch

REFUSALS = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory")
"""Of devices whose refusal has no type of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device, or main memory, had no more to give."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in REFUSALS)
