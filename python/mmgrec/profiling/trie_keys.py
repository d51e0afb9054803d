"""Rec-IDs of 4 levels of 256 tokens as 32-bit numbers; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIZES = [256, 256, 256, 256]
STEP = 2_654_435_761
"""2^32 over the golden ratio: odd, so that i x STEP mod 2^32 repeats nothing; it spreads evenly."""

BATCH = 2**20


def distinct_keys(items: int) -> Iterator[NDArray[np.uint32]]:
    """Yield ``items`` distinct numbers in batches, in no order."""
    for begin in range(0, items, BATCH):
        numbers = np.arange(begin, min(begin + BATCH, items), dtype=np.uint32)
        yield numbers * np.uint32(STEP)


def codes_of(keys: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Split numbers ``[n]`` into tokens ``[n, 4]``, the highest byte first."""
    tokens = keys.astype(">u4").view(np.uint8).reshape(-1, len(SIZES))
    return tokens.astype(np.int32)


def nodes_per_level(items: int) -> list[int]:
    """Count the prefixes of 1 to 4 tokens of the first ``items`` distinct keys."""
    seen = np.zeros(2**24, bool)
    for keys in distinct_keys(items):
        seen[keys >> np.uint32(8)] = True
    pairs = seen.reshape(-1, 256).any(axis=1)
    return [int(pairs.reshape(-1, 256).any(axis=1).sum()), int(pairs.sum()), int(seen.sum()), items]
