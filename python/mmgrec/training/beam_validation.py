"""What early stopping of the recommender watches: what it would recommend, as it is served."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec.data.histories import Histories, spread
from mmgrec.training.validation import ndcg_at
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.searcher import Request
from mmgrec_engine.model_folder import ModelFolder
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.searchers import choose_searcher

USERS = 4096
K, BEAM_WIDTH = 20, 50
"""As `mmgrec evaluate` ranks: 10 or 20 beams find less, and not equally less for every model."""


class BeamValidation:
    """NDCG@20 of beam search on validation users, by the native recommender.

    Parameters
    ----------
    trie : Trie
        The catalogue.
    nodes : NodeVectors or None
        Its node tables, for a head that has them.
    history, relevant : Histories
        Training and validation items, as leaf ranks.
    """

    def __init__(
        self, trie: Trie, nodes: NodeVectors | None, history: Histories, relevant: Histories
    ) -> None:
        self.trie, self.nodes, self.history, self.relevant = trie, nodes, history, relevant
        rows = np.flatnonzero((relevant.lengths > 0) & (history.lengths > 0))
        self.rows = spread(rows, USERS)

    def score(self, model: Recommender) -> float | None:
        """Return the mean over at most 4,096 users; None where nobody has validation items."""
        if len(self.rows) == 0:
            return None
        items = pl.DataFrame({"item": np.arange(self.trie.num_items)})
        folder = ModelFolder.of_model(model, self.trie, items, None)
        state = CatalogState(
            self.trie,
            IdTable("item", items["item"]),
            folder.weights["item_vectors"],
            nodes=self.nodes,
        )
        searcher = choose_searcher(folder, backend="native")
        found = searcher.search(state, self._request(model.config.max_history))
        return ndcg_at(found.ranks, self.relevant, self.rows)

    def _request(self, max_history: int) -> Request:
        seen = [self.history.of(int(row)).astype(np.int64) for row in self.rows]
        shown = [items[-max_history:] for items in seen]
        offsets: NDArray[np.int64] = np.cumsum([0, *map(len, shown)])
        return Request(
            np.concatenate(shown),
            offsets,
            self.rows.astype(np.int64),
            RankFilter.from_lists(seen, None, self.trie.num_items),
            K,
            BEAM_WIDTH,
        )
