"""Edits of a live catalogue of a million items, with and without the journal, and compaction.

The floor of a durable edit is one append and one fdatasync: the disk's figure, not ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmgrec.profiling.timing import Timing, measure, threads
from mmgrec_engine import _native
from mmgrec_engine.catalog.live import LiveCatalog

ITEMS, SIZES = 1_000_000, [256, 256, 256, 16]
PENDING, BATCHES = (0, 4_000), (1, 100)
NEVER = 10**9


class EditCase:
    """A catalogue with ``pending`` additions, and Rec-IDs that are still free."""

    def __init__(self, folder: Path, pending: int) -> None:
        rng = np.random.default_rng(0)
        keys = np.unique(rng.integers(0, np.prod(SIZES), 2 * ITEMS))
        spare = pending + max(BATCHES)
        keys = rng.permutation(keys)[: ITEMS + spare]
        codes = np.stack(np.unravel_index(keys, SIZES), axis=1).astype(np.int32)
        self.free, self._pending = codes[ITEMS + pending :], codes[ITEMS : ITEMS + pending]
        self._inserted = False
        self.catalog = LiveCatalog.create(folder, codes[:ITEMS], SIZES, compact_after=NEVER)
        self.change_pending()
        # Opened anew: durable edits make the journal long, which starts compactions of their own.
        self._in_memory = LiveCatalog.open(folder, read_only=True)._native

    def change_pending(self) -> None:
        """Insert the pending items, or delete them again once a compaction took them in."""
        if self._inserted:
            self.catalog.delete(self._pending)
        else:
            self.catalog.insert(self._pending, np.arange(len(self._pending)) + 2 * ITEMS)
        self._inserted = not self._inserted

    def durable(self, batch: int) -> Callable[[], None]:
        """Insert a batch of new items and delete it again: two durable calls."""

        def edit() -> None:
            codes = self.free[:batch]
            self.catalog.insert(codes, np.arange(batch) + ITEMS)
            self.catalog.delete(codes)

        return edit

    def in_memory(self, batch: int) -> Callable[[], None]:
        """Do the same without the journal."""
        live = self._in_memory
        codes, nothing = self.free[:batch], self.free[:0]
        ids, no_ids = np.arange(batch, dtype=np.uint32) + ITEMS, np.zeros(0, np.uint32)

        def edit() -> None:
            insert = _native.EditBatch.make(0, codes, nothing, ids, [], SIZES)
            live.publish(live.prepare(insert))
            delete = _native.EditBatch.make(1, codes, nothing, no_ids, [], SIZES)
            live.publish(live.prepare(delete))

        return edit

    def compact(self) -> None:
        """Build and write the catalogue of all items, and go on with it."""
        self.catalog.compact(background=False)


def edit_rows(tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the rows `trie_edits` and `trie_compaction`, all on one thread.

    ::

        without and with pending additions: single edits and batches, durable and in memory
        compaction last: it takes the pending items in, and every later round removes them or
            inserts them again first
    """
    for pending in PENDING:
        tell(f"trie_edits N={ITEMS:,} pending={pending:,}")
        with tempfile.TemporaryDirectory() as folder, threads(1):
            case = EditCase(Path(folder) / "catalog", pending)
            with case.catalog:
                yield from _edits(case, pending)
                found = measure({"compact": case.compact}, prepare={"compact": case.change_pending})
                shape = {"N": ITEMS, "level_sizes": SIZES, "pending": pending}
                yield _row("trie_compaction", shape, "native", ITEMS, found["compact"])


def _edits(case: EditCase, pending: int) -> Iterator[dict[str, Any]]:
    makers = {"durable": case.durable, "in_memory": case.in_memory}
    methods = {(name, batch): make(batch) for name, make in makers.items() for batch in BATCHES}
    names = {f"{name} {batch}": edit for (name, batch), edit in methods.items()}
    found = measure(names, calls=5)
    for name, batch in methods:
        shape = {"N": ITEMS, "level_sizes": SIZES, "pending": pending, "batch": batch}
        # A call makes two edits per item: it comes and goes.
        yield _row("trie_edits", shape, name, 2 * batch, found[f"{name} {batch}"])


def _row(
    bench: str, shape: dict[str, Any], backend: str, items: int, timing: Timing
) -> dict[str, Any]:
    return {
        "bench": bench,
        "case": shape,
        "backend": backend,
        "threads": 1,
        "median_s": timing.median,
        "p99_s": timing.p99,
        "rounds": timing.rounds,
        "items_per_s": items / timing.median,
    }
