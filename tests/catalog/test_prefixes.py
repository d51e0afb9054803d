"""Prefix tables and node vectors against a dictionary of prefixes."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.catalog.prefixes import PrefixTable, node_vectors


def codes_of(items: int, sizes: list[int]) -> np.ndarray:
    rng = np.random.default_rng(items)
    return np.unique(rng.integers(0, sizes, (items, len(sizes)), dtype=np.int32), axis=0)


@pytest.mark.parametrize("items", [1, 2, 30, 200])
def test_nodes_children_and_means(items: int) -> None:
    codes = codes_of(items, [4, 5, 3])
    table = PrefixTable.of(codes)
    vectors = np.random.default_rng(0).normal(size=(len(codes), 3)).astype(np.float32)
    for level in range(3):
        prefixes = sorted({tuple(row[: level + 1]) for row in codes.tolist()})
        nodes = table.levels[level]
        assert len(nodes) == len(prefixes)
        means = node_vectors(nodes, vectors)
        for node, prefix in enumerate(prefixes):
            below = (codes[:, : level + 1] == prefix).all(axis=1)
            lo, hi = nodes.starts[node], nodes.starts[node + 1]
            assert np.array_equal(np.flatnonzero(below), np.arange(lo, hi))
            assert nodes.tokens[node] == prefix[-1]
            assert np.allclose(means[node], vectors[below].mean(axis=0), atol=1e-6)
            assert (table.node_of_leaf(level)[lo:hi] == node).all()
            longer = {tuple(row[: level + 2]) for row in codes[below].tolist()}
            assert nodes.first_child[node + 1] - nodes.first_child[node] == len(longer)


def test_empty_catalogue() -> None:
    table = PrefixTable.of(np.zeros((0, 3), np.int32))
    assert [len(level) for level in table.levels] == [0, 0, 0]
    assert node_vectors(table.levels[0], np.zeros((0, 2), np.float32)).shape == (0, 2)
