"""What a reload leaves behind goes back to the system: two calls to glibc's allocator."""

from __future__ import annotations

import ctypes

LARGE_BYTES = 128 << 10
"""From here on memory is a mapping of its own, which ends when it is freed; where glibc begins."""

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


def keep_large_memory_apart() -> None:
    """Let large memory never come from the heaps; for the life of the process.

    ::

        glibc raises its threshold, up to 32 MiB, to whatever was freed last;  from then on a
        model's arrays lie in the heaps between small things that stay, and leave holes

    Nothing happens where the allocator is another one.
    """
    _call("mallopt", _MMAP_THRESHOLD, LARGE_BYTES)


def give_back() -> None:
    """Return the free pages of all heaps."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
