"""Sets of leaves (or of items by row) as bits, with a directory of counts for the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORDS_PER_COUNT = 8


@dataclass(frozen=True, eq=False)
class LeafSet:
    """A subset of the numbers 0 .. size - 1.

    ::

        number r is in the set:  words[r // 64] >> (r % 64) & 1
        counts[b] = how many numbers below 512 b are in the set

    ``words`` ``[size // 64 + 1]`` uint64, bits from ``size`` on are 0. ``counts`` uint32, one entry
    per eight words and one more. Immutable.
    """

    size: int
    words: NDArray[np.uint64]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, numbers: NDArray[np.int64], size: int) -> LeafSet:
        """Make a set of numbers, in any order and repeated or not.

        Raises
        ------
        IndexError
            A number lies outside 0 .. size - 1.
        """
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= size):
            raise IndexError(f"a set of numbers below {size} cannot hold {numbers.max()}")
        flags = np.zeros(_words_for(size) * 64, bool)
        flags[numbers] = True
        return cls._of_words(size, np.packbits(flags, bitorder="little").view(np.uint64))

    @classmethod
    def all(cls, size: int) -> LeafSet:
        """Make the set of all numbers."""
        return cls._of_words(size, np.full(_words_for(size), ~np.uint64(0)))

    @classmethod
    def _of_words(cls, size: int, words: NDArray[np.uint64]) -> LeafSet:
        words[-1] &= np.uint64((1 << size % 64) - 1)
        groups = -(-len(words) // WORDS_PER_COUNT)
        sums = np.add.reduceat(
            np.bitwise_count(words), np.arange(groups) * WORDS_PER_COUNT, dtype=np.int64
        )
        counts = np.concatenate([[0], np.cumsum(sums)]).astype(np.uint32)
        return cls(size, words, counts)

    def __len__(self) -> int:
        return int(self.counts[-1])

    def __and__(self, other: LeafSet) -> LeafSet:
        return self._of_words(self.size, self.words & other.words)

    def __or__(self, other: LeafSet) -> LeafSet:
        return self._of_words(self.size, self.words | other.words)

    def __invert__(self) -> LeafSet:
        return self._of_words(self.size, ~self.words)

    def resized(self, size: int) -> LeafSet:
        """Return the numbers below ``size`` as a subset of 0 .. size - 1."""
        if size == self.size:
            return self
        words = np.zeros(_words_for(size), np.uint64)
        both = min(len(words), len(self.words))
        words[:both] = self.words[:both]
        return self._of_words(size, words)

    def contains(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say for every number whether the set holds it."""
        bits = self.words[numbers >> 6] >> (numbers & 63).astype(np.uint64)
        return np.asarray(bits & np.uint64(1), bool)

    def numbers(self) -> NDArray[np.int64]:
        """Return all numbers of the set, ascending."""
        flags = np.unpackbits(self.words.view(np.uint8), bitorder="little")
        return np.flatnonzero(flags)


def _words_for(size: int) -> int:
    return size // 64 + 1
