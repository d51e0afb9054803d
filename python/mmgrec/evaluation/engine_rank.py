"""An engine as a ranking function of the evaluation protocol."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.protocol import K, Rank, Rows
from mmgrec_engine.engine import Engine

BATCH = 256


def engine_rank(engine: Engine, dataset: Dataset, beam_width: int) -> Rank:
    """Return a function from user rows to the item rows that the engine recommends them."""
    history = dataset.histories(Split.TRAIN)
    item_ids = np.array(dataset.items["item"].to_list(), dtype=object)
    user_ids = np.array(dataset.users["user"].to_list(), dtype=object)
    row_of = {item: row for row, item in enumerate(item_ids)} | {None: -1}

    def recommend(rows: Rows) -> Rows:
        found = engine.recommend(
            [item_ids[history.of(int(row))].tolist() for row in rows],
            users=user_ids[rows].tolist(),
            k=K,
            beam_width=beam_width,
        )
        return np.array([[row_of[i] for i in items] for items in found.items]).reshape(-1, K)

    def rank(rows: Rows) -> Rows:
        # Histories of like length share a batch, so that little of it is padding.
        order = np.argsort(history.lengths[rows], kind="stable")
        top = np.full((len(rows), K), -1, np.int64)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("recommending", total=len(rows))
            for begin in range(0, len(rows), BATCH):
                part = order[begin : begin + BATCH]
                top[part] = recommend(rows[part])
                progress.advance(task, len(part))
        return top

    return rank
