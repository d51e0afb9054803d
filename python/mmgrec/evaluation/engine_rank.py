"""An engine as a ranking function of the evaluation protocol."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Rows
from mmgrec_engine.engine import Engine

BATCH = 256


class EngineRank:
    """Ranks by what an engine recommends.

    Items that joined the catalogue after training are left out: the data set does not know them,
    so nobody can have been found to like them. Items that have left it are missed.

    Parameters
    ----------
    engine : Engine
        A loaded model.
    dataset : Dataset
        Its data set: users' training items are their histories.
    beam_width : int
        Beams per user.
    exact : bool
        Search for the true best of the whole catalogue.
    allow : sequence of item ids, optional
        Rank these items only.
    """

    def __init__(
        self,
        engine: Engine,
        dataset: Dataset,
        beam_width: int,
        *,
        exact: bool = False,
        allow: Sequence[Hashable] | None = None,
    ) -> None:
        self.engine, self.beam_width, self.exact, self.allow = engine, beam_width, exact, allow
        self.history = dataset.histories(Split.TRAIN)
        self.item_ids = np.array(dataset.items["item"].to_list(), dtype=object)
        self.user_ids = np.array(dataset.users["user"].to_list(), dtype=object)
        self.row_of = {item: row for row, item in enumerate(self.item_ids)} | {None: -1}
        later = [item for item in engine.items["item"].to_list() if item not in self.row_of]
        self.later: list[Hashable] | None = later or None
        self.asked, self.certified = 0, 0

    @property
    def certified_share(self) -> float:
        """Share of the users ranked so far whose list is provably the best of the catalogue."""
        return self.certified / max(self.asked, 1)

    def rank(self, user_rows: Rows, k: int) -> Rows:
        """Return ``[n, k]`` item rows, best first; -1 for none."""
        return self.lists(user_rows, k)[0]

    def lists(self, user_rows: Rows, k: int) -> tuple[Rows, NDArray[np.float32]]:
        """Return what `rank` does, and the scores ``[n, k]``; -inf where there is no item."""
        # Histories of like length share a batch, so that little of it is padding.
        order = np.argsort(self.history.lengths[user_rows], kind="stable")
        top = np.full((len(user_rows), k), -1, np.int64)
        scores = np.full(top.shape, -np.inf, np.float32)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("recommending", total=len(user_rows))
            for begin in range(0, len(user_rows), BATCH):
                part = order[begin : begin + BATCH]
                top[part], scores[part] = self._recommend(user_rows[part], k)
                progress.advance(task, len(part))
        return top, scores

    def _recommend(self, rows: Rows, k: int) -> tuple[Rows, NDArray[np.float32]]:
        found = self.engine.recommend(
            [self.item_ids[self.history.of(int(row))].tolist() for row in rows],
            users=self.user_ids[rows].tolist(),
            k=k,
            beam_width=self.beam_width,
            exact=self.exact,
            allow=self.allow,
            deny=self.later,
        )
        self.asked += len(rows)
        self.certified += int(found.certified.sum())
        top = np.array([[self.row_of[i] for i in items] for items in found.items]).reshape(-1, k)
        return top, found.scores
