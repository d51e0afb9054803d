"""A live catalogue that another process edits, read as its journal grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.catalog.item_payload import ItemPayload
from mmgrec_engine.catalog.live_folder import (
    INSERT,
    REPLACE,
    generation_on_disk,
    journal_path,
    keep_payloads,
    read_generation,
)
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.state import CatalogState

Batches = Sequence[_native.EditBatch]


class FollowedCatalog:
    """The state of a folder as of the last look at it; nothing is written.

    ::

        follow: the manifest's generation is the same -> read the journal from the last known record
                on -> make its edits

    What it costs goes with the edits that are new, not with all that are pending.

    Raises
    ------
    ArtifactError
        No catalogue, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        generation = read_generation(folder)
        self.folder = folder
        self.payloads = generation.payloads
        self._generation, self._journal = generation.number, generation.journal
        self._native = generation.live

    @property
    def sequence(self) -> int:
        """Number of the last batch that was read."""
        return self._journal.sequence

    def snapshot(self) -> Snapshot:
        """Return the state as of the last look."""
        return Snapshot(self._native.snapshot())

    def follow(self) -> Batches | None:
        """Make the edits that came since; return their batches.

        None where the journal does not go on from what was read, as after a compaction: then the
        folder is to be read anew, which also tells what is wrong with a damaged one.
        """
        if generation_on_disk(self.folder) != self._generation:
            return None
        path = journal_path(self.folder, self._generation)
        try:
            later = _native.JournalContents.read_after(str(path), self._journal)
            self._native.publish(self._native.prepare_replay(later))
        except (_native.DamagedFile, _native.EditError, OSError):
            return None
        batches: Batches = later.batches
        for batch in batches:
            keep_payloads(self.payloads, batch.kinds, batch.ids, batch.payloads)
        self._journal = later
        return batches


def later_state(
    state: CatalogState,
    batches: Batches,
    stored: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> tuple[CatalogState, NDArray[np.int64]] | None:
    """Return a state with what later batches say of items, still over the same catalogue.

    ::

        inserted: a row of its own, with id, columns and vector;  replaced: another vector

    None where the batches do not say enough: a row follows that this state leaves a gap before.

    Parameters
    ----------
    state : CatalogState
        Before the batches.
    batches : sequence of EditBatch
        In the order in which they were made.
    stored : callable
        Appends vectors ``[n, D]`` to those of the state and returns all of them.

    Returns
    -------
    state, replaced
        And the rows of replaced items.

    Raises
    ------
    ArtifactError
        What is known of an item is damaged.
    """
    width = state.vectors.shape[1]
    rows: list[int] = []  # whose the items are
    items: list[ItemPayload] = []
    added: list[ItemPayload] = []
    replaced: list[int] = []
    for batch in batches:
        edits = zip(batch.kinds.tolist(), batch.ids.tolist(), batch.payloads, strict=True)
        for kind, row, payload in edits:
            if kind == INSERT and (row != state.num_rows + len(added) or not payload):
                return None
            if kind == REPLACE:
                replaced.append(row)
            if kind in (INSERT, REPLACE) and payload:
                item = ItemPayload.from_bytes(payload, width)
                rows.append(row)
                items.append(item)
                added += [item] if kind == INSERT else []
    if not items:
        return state, np.array(replaced, np.int64)
    later = state.with_items(
        np.array(rows),
        stored(np.stack([item.vector for item in items])),
        [item.id for item in added],
        [item.columns for item in added],
    )
    return later, np.array(replaced, np.int64)
