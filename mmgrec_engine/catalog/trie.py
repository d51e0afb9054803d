"""The prefix trie: a thin handle on the C++ core (csrc/trie)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.errors import ArtifactError, DataError
from mmgrec_engine.settings import num_threads


class Trie:
    """Items sorted by Rec-ID; a prefix, and so a beam, is a contiguous range of leaf ranks.

    Build with `Trie.build`, or in batches with `TrieBuilder`; read with `Trie.load`; immutable and
    safe to share between threads.
    """

    def __init__(self, native: _native.Trie) -> None:
        self.native = native
        self.num_items: int = native.num_items
        self.num_leaves: int = native.num_items
        self.num_levels: int = native.num_levels
        self.level_sizes: list[int] = list(native.level_sizes)

    @classmethod
    def build(
        cls, codes: NDArray[np.integer[Any]], level_sizes: Sequence[int]
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
        builder = TrieBuilder(level_sizes)
        builder.add(codes)
        trie, order = builder.finish()
        return trie, order.astype(np.int64)

    @classmethod
    def load(cls, path: Path, *, verify: bool = False) -> Trie:
        """Map a trie file into memory.

        ::

            header, size and table of checksums are checked: milliseconds, however large the file
            verify: the rest of it too, which reads the whole file

        Parameters
        ----------
        path : Path
            The file; it must not be changed while it is in use.
        verify : bool
            Call `Trie.verify`. Without it, damage shows when a search meets it, if at all.

        Raises
        ------
        ArtifactError
            The file is missing, truncated, damaged or of another version.
        """
        try:
            trie = cls(_native.Trie.open(str(path)))
        except (_native.DamagedFile, OSError) as error:
            raise _damaged(f"cannot open the trie {path}", error) from None
        if verify:
            trie.verify()
        return trie

    def verify(self) -> None:
        """Check all checksums, offsets and tokens.

        Raises
        ------
        ArtifactError
            The file that the trie came from is damaged.
        """
        try:
            self.native.verify(num_threads())
        except _native.DamagedFile as error:
            raise _damaged("the trie's file is damaged", error) from None

    def save(self, path: Path) -> None:
        """Write the trie to a file (`OSError` with the cause when it cannot be written)."""
        self.native.save(str(path), num_threads())

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
        try:
            rows: NDArray[np.int32] = self.native.codes(np.ascontiguousarray(ranks, dtype=np.int64))
        except _native.DamagedFile as error:
            raise _damaged("the trie's file is damaged", error) from None
        return rows


class TrieBuilder:
    """Collects Rec-IDs in batches and sorts them into a trie.

    ::

        builder = TrieBuilder([256, 256, 256, 16])
        for batch in batches:
            builder.add(batch)              # [n, 4]
        trie, order = builder.finish()  # the leaf with rank r is row order[r] of all batches

    A Rec-ID is kept as one number (4 bytes for up to 32 bits of tokens, else 8 or 16); 10^8 items
    of four byte-sized tokens need 1.6 GB while they are sorted.

    Parameters
    ----------
    level_sizes : sequence of int
        Tokens per level, 2 to 8 levels of 1 to 65,536 tokens.

    Raises
    ------
    DataError
        Too few or too many levels, or a level of an impossible size.
    """

    def __init__(self, level_sizes: Sequence[int]) -> None:
        sizes = [int(size) for size in level_sizes]
        if any(not 1 <= size <= 65536 for size in sizes):
            what = "a level has no tokens" if min(sizes) < 1 else "a level has too many tokens"
            raise DataError(what, value=sizes, allowed="1 to 65,536")
        self.level_sizes = sizes
        try:
            self._native = _native.TrieBuilder(sizes)
        except ValueError as error:
            raise DataError(f"cannot build a trie: {error}") from None

    @property
    def num_rows(self) -> int:
        """Rows added so far."""
        return int(self._native.num_rows)

    def add(self, codes: NDArray[np.integer[Any]]) -> None:
        """Add Rec-IDs ``[n, T]``; nothing is added where one of them is wrong.

        Raises
        ------
        DataError
            A token outside its level; its row is counted over all batches.
        """
        levels = len(self.level_sizes)
        if codes.ndim != 2 or codes.shape[1] != levels:
            raise DataError(
                "Rec-IDs and level sizes do not fit together",
                value=f"{codes.shape} and {levels} levels",
                allowed="[N, T] and T sizes",
            )
        try:
            self._native.add(self._as_int32(codes))
        except ValueError as error:
            raise DataError(f"cannot build a trie: {error}") from None

    def finish(
        self, *, threads: int | None = None, dense_levels: int | None = None
    ) -> tuple[Trie, NDArray[np.uint32]]:
        """Sort what was added; the builder is empty afterwards.

        Parameters
        ----------
        threads : int, optional
            By default `settings.num_threads`.
        dense_levels : int, optional
            Levels that have offsets instead of a packed token per item (0, 1 or 2); by default two,
            or one where K0 K1 > 4 N + 65,536.

        Returns
        -------
        trie : Trie
            The trie.
        order : array
            ``[N]`` uint32, the row of each leaf.

        Raises
        ------
        DataError
            Two rows have one Rec-ID.
        """
        try:
            native, order = self._native.finish(threads or num_threads(), dense_levels)
        except ValueError as error:
            raise DataError(f"cannot build a trie: {error}") from None
        return Trie(native), order

    def _as_int32(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Convert, but never so that a token changes into another one."""
        if codes.dtype.kind not in "iu":
            raise DataError(
                "Rec-IDs are not integers", value=codes.dtype, allowed="any integer type"
            )
        if not np.can_cast(codes.dtype, np.int32):
            outside = (codes < 0) | (codes >= np.array(self.level_sizes))
            if outside.any():
                row, level = np.argwhere(outside)[0]
                raise DataError(
                    f"cannot build a trie: row {self.num_rows + row}: token {codes[row, level]} "
                    f"is outside 0..{self.level_sizes[level] - 1}"
                )
        return np.ascontiguousarray(codes, dtype=np.int32)


def _damaged(what: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        what, value=error, remedy="restore the file from a copy, or write the folder again"
    )
