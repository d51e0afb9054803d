"""The score of early stopping is what the served model reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec.training.beam_validation import BEAM_WIDTH, BeamValidation, K
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.engine import Engine
from mmgrec_engine.model_folder import load_model_folder


def test_it_is_the_ndcg_of_the_engine(dataset: Dataset, run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    leaf_of = {item: leaf for leaf, item in enumerate(folder.items["item"])}
    leaves = np.array([leaf_of[item] for item in dataset.items["item"]], np.int32)

    def as_leaves(histories: Histories) -> Histories:
        return Histories(histories.offsets, leaves[histories.item_rows])

    history, relevant = (dataset.histories(s) for s in (Split.TRAIN, Split.VALID))
    nodes = NodeVectors.of(folder.trie.codes(), folder.weights["item_vectors"])
    validation = BeamValidation(folder.trie, nodes, as_leaves(history), as_leaves(relevant))
    rows = np.flatnonzero((relevant.lengths > 0) & (history.lengths > 0))
    assert validation.rows.tolist() == rows.tolist()
    top = EngineRank(Engine.load(run_folder), dataset, BEAM_WIDTH).rank(rows, K)
    expected = per_user_metrics(top, relevant, rows)["ndcg@20"].to_numpy().mean()
    assert validation.score(folder.model()) == pytest.approx(float(expected), abs=1e-6)


def test_nobody_to_validate_on(run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    nobody = Histories(np.zeros(3, np.int64), np.zeros(0, np.int32))
    validation = BeamValidation(folder.trie, None, nobody, nobody)
    assert validation.score(folder.model()) is None
