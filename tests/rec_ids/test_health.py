"""The report on Rec-IDs."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.rec_ids.health import rec_id_health


def test_figures_of_a_hand_made_catalogue() -> None:
    codes = np.array([[0, 0], [0, 1], [1, 1], [1, 1]], np.int32)
    vectors = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    rebuilt = np.array([[0.0], [1.0], [2.5], [2.5]], np.float32)
    # Level 0: every second codeword twice as far; level 1: for one item of four hardly farther.
    top2 = np.array([[[1, 2], [1, 2]]] * 3 + [[[1, 2], [1, 1.05]]], np.float32)
    health = rec_id_health(codes, 4, vectors, rebuilt, top2)
    assert health.num_items == 4
    assert health.unique_share == 3 / 4
    assert health.largest_group == 2
    assert health.reconstruction_error == pytest.approx(0.5 / 5.0)
    assert [level.dead_codes for level in health.levels] == [2, 2]
    assert [level.undecided_share for level in health.levels] == [0.0, 0.25]
    assert health.levels[0].perplexity == pytest.approx(2.0)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert health.levels[1].perplexity == pytest.approx(np.exp(entropy))
