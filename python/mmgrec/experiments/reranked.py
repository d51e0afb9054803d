"""Generate, then re-rank: beam search finds the candidates, two scores order them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Rows
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.training.validation import ndcg_at

CANDIDATES = 50
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
K = 20


@dataclass(frozen=True)
class Reranked:
    """A `Scorer` that orders an engine's best 50 anew.

    ::

        score = (1 - share) log p(item | history) + share scale user . item

    The graph encoder's scores are logits of a softmax over all items: but for a constant of the
    user's, a log-probability as well.

    ``users`` ``[U, D]`` and ``items`` ``[N, D]``: its vectors, in the data set's row order;
    ``scale``: inverse temperature that they were trained with; ``share``: of the dense score.
    """

    engine: EngineRank
    users: NDArray[np.float32]
    items: NDArray[np.float32]
    scale: float
    share: float = 0.5

    def rank(self, user_rows: Rows, k: int) -> Rows:
        """Return ``[n, k]`` item rows, best first; -1 for none."""
        return self._ordered(*self._candidates(user_rows, k), self.share)[:, :k]

    def tuned(self, dataset: Dataset) -> Reranked:
        """Return the one whose share ranks validation items best."""
        relevant, history = dataset.histories(Split.VALID), dataset.histories(Split.TRAIN)
        rows = np.flatnonzero((relevant.lengths > 0) & (history.lengths > 0))
        found = self._candidates(rows, K)
        scores = [ndcg_at(self._ordered(*found, s)[:, :K], relevant, rows) for s in SHARES]
        best = SHARES[int(np.argmax(scores))]
        return Reranked(self.engine, self.users, self.items, self.scale, best)

    def _candidates(
        self, rows: Rows, k: int
    ) -> tuple[Rows, NDArray[np.float32], NDArray[np.float32]]:
        top, generated = self.engine.lists(rows, max(k, min(CANDIDATES, len(self.items))))
        dense = self.scale * (self.items[top] @ self.users[rows][:, :, None])[:, :, 0]
        return top, generated, dense

    @staticmethod
    def _ordered(
        top: Rows, generated: NDArray[np.float32], dense: NDArray[np.float32], share: float
    ) -> Rows:
        # A product of 0 and the -inf of a missing item would be NaN.
        with np.errstate(invalid="ignore"):
            mixed = np.where(top >= 0, (1 - share) * generated + share * dense, -np.inf)
        return np.take_along_axis(top, np.argsort(-mixed, axis=1, kind="stable"), axis=1)
