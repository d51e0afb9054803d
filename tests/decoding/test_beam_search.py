"""Beam search against brute force over all items."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.catalog.filters import RankFilter
from tests_shared import SearchWorld

TOLERANCE = 1e-4


WORLDS = [
    {"sizes": [5, 4], "items": 12},
    {"sizes": [3, 3, 3], "items": 20, "normalise": "full"},
    {"sizes": [6, 2, 4, 3], "items": 50, "node_vectors": False},
    {"sizes": [1, 1, 2], "items": 2},
    {"sizes": [7, 7, 3], "items": 60},
]


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"{w['sizes']}")
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_wide_enough_beams_equal_brute_force(world: dict[str, object], backend: str) -> None:
    made = SearchWorld(**world, seed=3)  # type: ignore[arg-type]
    n = made.trie.num_items
    expected = made.scores.sort(dim=1, descending=True)
    for k, width in ((1, n), (min(5, n), n), (n, n), (n, 4 * n)):
        found = made.search(k, width, backend=backend)
        np.testing.assert_allclose(
            found.scores, expected.values[:, :k], atol=TOLERANCE, rtol=TOLERANCE
        )
        assert found.certified.all()
        by_rank = np.take_along_axis(made.scores.numpy(), found.ranks, 1)
        np.testing.assert_allclose(found.scores, by_rank, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("width", [1, 2, 5, 17])
def test_every_result_is_an_item_and_certificates_are_true(width: int) -> None:
    for seed in range(6):
        made = SearchWorld([7, 7, 3], 80, seed)
        k = min(width, 3)
        found = made.search(k, width)
        best = made.scores.sort(dim=1, descending=True).values
        assert ((found.ranks >= 0) & (found.ranks < made.trie.num_items)).all()
        assert all(len(set(row)) == k for row in found.ranks.tolist())
        for user in np.flatnonzero(found.certified):
            np.testing.assert_allclose(
                found.scores[user], best[user, :k], atol=TOLERANCE, rtol=TOLERANCE
            )


def test_seen_items_are_excluded_inside_the_search() -> None:
    made = SearchWorld([7, 7, 3], 80, 1)
    n = made.trie.num_items
    top = made.scores.sort(dim=1, descending=True).indices
    deny = [top[0, :10].numpy(), top[1, : n - 2].numpy(), np.zeros(0, np.int64)]
    filters = RankFilter.from_lists(deny, None, n)
    found = made.search(5, n, filters=filters)
    assert found.ranks[0].tolist() == top[0, 10:15].tolist()
    # Two items are left for the second user; the rest of the row says so.
    assert found.ranks[1].tolist() == [*top[1, n - 2 :].tolist(), -1, -1, -1]
    assert (found.scores[1, 2:] == float("-inf")).all()
    assert found.ranks[2].tolist() == top[2, :5].tolist()


@pytest.mark.parametrize("width", [1, 3, 8])
def test_k_results_come_back_whenever_k_items_are_allowed(width: int) -> None:
    made = SearchWorld([7, 7, 3], 80, 2)
    n = made.trie.num_items
    allow = [np.arange(n - width, n), np.arange(0, n, max(1, n // width))[:width], None]
    filters = RankFilter.from_lists([np.zeros(0, np.int64)] * 3, allow, n)
    found = made.search(width, width, filters=filters)
    assert (found.ranks >= 0).all()
    assert sorted(found.ranks[0].tolist()) == list(range(n - width, n))


def test_beam_narrower_than_k_is_widened() -> None:
    made = SearchWorld([7, 7, 3], 80, 4)
    assert np.array_equal(made.search(6, 1).ranks, made.search(6, 6).ranks)
