"""Freed memory goes back to the system at once, where many workers share a machine.

Place in the flow: a worker of the `tags` engine asks for it before it loads anything, and again when it has. malloc's
default keeps what big buffers leave free, and raises by itself the size from which a buffer counts as big: what the
largest picture and the text detector take in turn then stays, side by side. The law: no caption changes.

Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD. Other C libraries than glibc are left as they are.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_BIG_BYTES = 2**20


def give_back_freed_memory() -> bool:
    """Returns whether this process from now on gives back every buffer of a megabyte or more when it is freed.

    What lies free already is given back, too.
    """
    library = ctypes.CDLL(None)
    mallopt, trim = getattr(library, "mallopt", None), getattr(library, "malloc_trim", None)
    if mallopt is None or trim is None:
        return False
    is_set = all(mallopt(name, _BIG_BYTES) == 1 for name in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD))
    trim(0)
    return is_set
