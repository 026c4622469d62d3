"""Freed memory kept for the next picture instead of given back to the system.

Place in the flow: `score` asks for it once a part. A picture needs buffers of tens of megabytes, and malloc's default
maps and unmaps each of them anew: the system then clears thousands of pages a picture, which took a sixth of the
scoring time of progressive JPEGs. The law: a worker never holds more than its largest picture took, and gives back what
lies free beyond `KEPT_BYTES` at the end of its memory; pixels and scores are the same with and without.

Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD. Other C libraries than glibc are left as they are.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
KEPT_BYTES = 256 * 2**20
# Of one buffer: three bytes a pixel of 22 megapixels; what older glibc takes.
LARGEST_BYTES = (64 * 2**20, 32 * 2**20)


def keep_freed_memory() -> bool:
    """Returns whether this process from now on reuses buffers of up to 32 or 64 MB without asking the system."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # The first call ends malloc's own adapting of both numbers.
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)) and any(
        mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST_BYTES
    )
