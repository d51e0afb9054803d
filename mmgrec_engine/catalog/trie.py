"""The prefix trie: a thin handle on the C++ core (csrc/trie)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.errors import ArtifactError, DataError


class Trie:
    """Items sorted by Rec-ID; a prefix, and so a beam, is a contiguous range of leaf ranks.

    Build with `Trie.build`, read with `Trie.load`; immutable and safe to share between threads.
    """

    def __init__(self, native: _native.Trie) -> None:
        self.native = native
        self.num_items: int = native.num_items
        self.num_leaves: int = native.num_items
        self.num_levels: int = native.num_levels
        self.level_sizes: list[int] = list(native.level_sizes)

    @classmethod
    def build(
        cls, codes: NDArray[np.int32], level_sizes: Sequence[int]
    ) -> tuple[Trie, NDArray[np.int64]]:
        """Sort Rec-IDs into a trie.

        ::

            order = rows sorted by tuple;  the leaf with rank r is the item of row order[r]

        Parameters
        ----------
        codes : array
            ``[N, T]`` integer Rec-IDs in any order, T from 2 to 8.
        level_sizes : sequence of int
            Tokens per level, 1 to 65,536 each.

        Returns
        -------
        trie : Trie
            The trie.
        order : array
            ``[N]`` int64.

        Raises
        ------
        DataError
            A token outside its level, two items with one Rec-ID, too few or too many levels.
        """
        if codes.ndim != 2 or codes.shape[1] != len(level_sizes):
            raise DataError(
                "Rec-IDs and level sizes do not fit together",
                value=f"{codes.shape} and {len(level_sizes)} levels",
                allowed="[N, T] and T sizes",
            )
        if any(size < 1 for size in level_sizes):
            raise DataError("a level has no tokens", value=list(level_sizes), allowed="1 to 65,536")
        try:
            rows = np.ascontiguousarray(codes, dtype=np.int32)
            native, order = _native.Trie.build(rows, list(level_sizes))
        except ValueError as error:
            raise DataError(f"cannot build a trie: {error}") from None
        return cls(native), order.astype(np.int64)

    @classmethod
    def load(cls, path: Path) -> Trie:
        """Map a trie file into memory.

        Raises
        ------
        ArtifactError
            The file is missing, truncated, damaged or of another version.
        """
        try:
            return cls(_native.Trie.open(str(path)))
        except (_native.DamagedFile, OSError) as error:
            raise ArtifactError(
                f"cannot open the trie {path}",
                value=error,
                remedy="restore the file from a copy, or write the folder again",
            ) from None

    def save(self, path: Path) -> None:
        """Write the trie to a file (`OSError` with the cause when it cannot be written)."""
        self.native.save(str(path))

    @property
    def num_bytes(self) -> int:
        """Size of the trie, in memory as on disk."""
        return int(self.native.num_bytes)

    def lookup(self, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the leaf ranks ``[n]`` of full tuples ``[n, T]``; -1 where a tuple is no item."""
        ranks: NDArray[np.int64] = self.native.lookup(np.ascontiguousarray(codes, dtype=np.int32))
        return ranks

    def codes(self, ranks: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Return the tuples ``[n, T]`` of leaf ranks ``[n]``, by default of all leaves in order."""
        if ranks is None:
            ranks = np.arange(self.num_items)
        rows: NDArray[np.int32] = self.native.codes(np.ascontiguousarray(ranks, dtype=np.int64))
        return rows
