"""Collision tokens."""

from __future__ import annotations

import numpy as np

from mmgrec_engine.rec_ids.collisions import group_of, popularity_tokens


def test_most_popular_item_of_a_group_comes_first() -> None:
    codes = np.array([[1, 2], [0, 0], [1, 2], [1, 2], [0, 0]], np.int32)
    popularity = np.array([5, 1, 9, 5, 1])
    # Group (1, 2): item 2, then 0 and 3 tied, lower row first. Group (0, 0): tied.
    assert popularity_tokens(codes, popularity).tolist() == [1, 0, 0, 2, 1]


def test_tuples_with_the_token_are_unique() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (200, 2), dtype=np.int32)
    tokens = popularity_tokens(codes, rng.integers(0, 4, 200))
    assert len(np.unique(np.column_stack([codes, tokens]), axis=0)) == 200
    for group in range(group_of(codes).max() + 1):
        inside = np.sort(tokens[group_of(codes) == group])
        assert inside.tolist() == list(range(len(inside)))
