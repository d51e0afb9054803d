"""The most popular items, for users without a history."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from mmgrec.serving.batcher import Call
from mmgrec_engine.engine import Engine


class Popular:
    """An engine's items by how many interactions they had in training, most first."""

    def __init__(self, engine: Engine) -> None:
        items = engine.items
        counts = items["popularity"].to_numpy()
        self._order = np.argsort(-counts.astype(np.int64), kind="stable")
        self._anything = [items["item"][0]]

    def __call__(self, engine: Engine, call: Call) -> list[Hashable]:
        """Return up to k items that the call's filters let through.

        ::

            the filters are the engine's own, asked for a user who has seen nothing
            rows by popularity, items that came later last -> leaves that exist and are allowed
        """
        state, request = engine.prepare(
            [self._anything],
            k=call.k,
            beam_width=1,
            exclude_seen=False,
            allow=call.allow,
            deny=call.deny,
            where=call.where,
        )
        later = np.arange(len(self._order), state.num_rows)
        rows = np.concatenate([self._order, later])
        leaves = state.leaves_or_gone(rows)
        allowed = leaves >= 0
        if request.filters is not None:
            allowed &= request.filters.mask(0, state.num_leaves)[leaves]
        chosen = rows[allowed][: call.k]
        found: list[Hashable] = state.ids.ids(chosen).tolist()
        return found
