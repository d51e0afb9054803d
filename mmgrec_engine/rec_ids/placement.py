"""Rec-IDs for items that come later: semantic codes from the tokeniser, a free collision token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.errors import EditError


def place_new_items(
    snapshot: Snapshot, codes: NDArray[np.integer], last_choices: NDArray[np.integer]
) -> NDArray[np.int32]:
    """Give every new item the nearest Rec-ID that is free.

    ::

        for each item, for its last semantic codeword, nearest first:
            group = items with these semantic codes, those placed just now included
            the smallest token that the group does not use; none: the next codeword

    Parameters
    ----------
    snapshot : Snapshot
        The catalogue as it is.
    codes : array
        ``[n, S]`` semantic codes.
    last_choices : array
        ``[n, C]`` codewords of the last semantic level for every item, nearest first; the first is
        usually ``codes[:, -1]``.

    Returns
    -------
    array
        ``[n, S + 1]`` int32 Rec-IDs, unique and free in the snapshot.

    Raises
    ------
    EditError
        All groups that an item may join are full.
    """
    groups: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    placed = np.empty((len(codes), codes.shape[1] + 1), np.int32)
    for row, (semantic, choices) in enumerate(
        zip(codes.tolist(), last_choices.tolist(), strict=True)
    ):
        for last in choices:
            group = (*semantic[:-1], last)
            if group not in groups:
                groups[group] = _taken(snapshot, group)
            token = int(np.argmin(groups[group]))
            if not groups[group][token]:
                groups[group][token] = True
                placed[row] = (*group, token)
                break
        else:
            raise EditError(
                f"new item {row} finds no free Rec-ID",
                value=f"{len(choices)} full groups beside {tuple(semantic)}",
                allowed=f"{snapshot.level_sizes[-1]} items per group",
                remedy="offer more codewords, or train with more collision tokens or codes",
            )
    return placed


def _taken(snapshot: Snapshot, group: tuple[int, ...]) -> NDArray[np.bool_]:
    tokens = np.arange(snapshot.level_sizes[-1], dtype=np.int32)
    rows = np.column_stack([np.tile(np.array(group, np.int32), (len(tokens), 1)), tokens])
    return snapshot.lookup(rows) >= 0
