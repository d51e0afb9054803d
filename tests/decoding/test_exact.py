"""Exact search against brute force over all items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding import exact
from mmgrec_engine.decoding.searcher import SearchResult
from tests_shared import SearchWorld

TOLERANCE = 1e-4
"""One model call per prefix and one for all items round differently."""

worlds = st.builds(
    SearchWorld,
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    items=st.integers(1, 120),
    seed=st.integers(0, 10**6),
    power=st.sampled_from([1.0, 4.0]),
    flat=st.booleans(),
    normalise=st.sampled_from(["catalogue", "full"]),
    node_vectors=st.booleans(),
)


def make_filters(made: SearchWorld, kind: str, seed: int) -> RankFilter | None:
    """Deny at random; "allow" leaves the middle user a short list, "few" everybody at most 2."""
    if kind == "none":
        return None
    n, rng = made.trie.num_items, np.random.default_rng(seed)
    deny = [rng.integers(0, n, int(rng.integers(0, n + 1))) for _ in range(3)]
    allow = {
        "deny": None,
        "allow": [None, rng.integers(0, n, 1 + n // 3), None],
        "few": [rng.integers(0, n, 2) for _ in range(3)],
    }[kind]
    return RankFilter.from_lists(deny, allow, n)


def allowed(made: SearchWorld, filters: RankFilter | None, user: int) -> np.ndarray:
    n = made.trie.num_items
    return np.flatnonzero(np.ones(n) if filters is None else filters.mask(user, n))


def assert_is_top(
    made: SearchWorld, found: SearchResult, filters: RankFilter | None, k: int
) -> None:
    """Same scores at every place, distinct allowed items, each with the score that it has."""
    for user in range(3):
        ranks = allowed(made, filters, user)
        scores = made.scores[user].numpy()[ranks]
        expected = np.sort(scores)[::-1][:k]
        count = len(expected)
        got = found.ranks[user]
        assert (got[count:] == -1).all()
        assert (found.scores[user, count:] == -np.inf).all()
        assert len(set(got[:count])) == count
        assert set(got[:count]) <= set(ranks)
        np.testing.assert_allclose(found.scores[user, :count], expected, atol=TOLERANCE)
        np.testing.assert_allclose(made.scores[user][got[:count]], expected, atol=TOLERANCE)
        assert_ordered(found, user)


def assert_ordered(found: SearchResult, user: int) -> None:
    """Best first, exact ties in leaf order."""
    items = [(-s, r) for s, r in zip(found.scores[user], found.ranks[user], strict=True) if r >= 0]
    assert items == sorted(items)


@settings(max_examples=50, deadline=None)
@given(
    made=worlds,
    k=st.integers(1, 130),
    width=st.integers(1, 20),
    kind=st.sampled_from(["none", "deny", "allow", "few"]),
)
def test_the_result_is_the_top_of_the_catalogue(
    made: SearchWorld, k: int, width: int, kind: str
) -> None:
    k = min(k, made.trie.num_items)
    filters = make_filters(made, kind, k)
    found = made.exact(k, width, filters=filters)
    assert_is_top(made, found, filters, k)
    assert found.certified.all()
    assert found.limit_hit is not None
    assert not found.limit_hit.any()
    beam = made.search(k, width, filters=filters)
    for user in np.flatnonzero(beam.certified):
        np.testing.assert_allclose(
            beam.scores[user], found.scores[user], atol=TOLERANCE, rtol=TOLERANCE
        )


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    items=st.integers(1, 120),
    seed=st.integers(0, 10**6),
    k=st.integers(1, 130),
    width=st.integers(1, 6),
    normalise=st.sampled_from(["catalogue", "full"]),
    kind=st.sampled_from(["none", "deny", "few"]),
)
def test_ties_are_in_leaf_order(
    sizes: list[int], items: int, seed: int, k: int, width: int, normalise: str, kind: str
) -> None:
    made = SearchWorld(sizes, items, seed, flat=True, normalise=normalise)
    n = made.trie.num_items
    k, filters = min(k, n), make_filters(made, kind, seed)
    # Constant heads give the same bits however prefixes are batched, so beams that keep everything
    # are a brute force whose ties can be compared one by one.
    everything = made.search(n, n, filters=filters)
    found = made.exact(k, width, filters=filters)
    assert np.array_equal(found.ranks, everything.ranks[:, :k])
    assert np.array_equal(found.scores, everything.scores[:, :k])


@settings(max_examples=25, deadline=None)
@given(made=worlds, width=st.integers(1, 4), limit=st.integers(1, 30), k=st.integers(1, 5))
def test_a_limit_gives_a_result_that_says_so(
    made: SearchWorld, width: int, limit: int, k: int
) -> None:
    n = made.trie.num_items
    found = made.exact(k, width, max_prefixes=limit)
    assert found.limit_hit is not None
    assert found.expanded is not None
    assert np.array_equal(found.certified, ~found.limit_hit)
    first_pass = 1 + max(width, k) * (made.trie.num_levels - 1)
    assert (found.expanded <= max(limit, first_pass)).all()
    assert (found.expanded[found.limit_hit] >= limit).all()
    unlimited = made.exact(k, width)
    for user in range(3):
        assert ((found.ranks[user] >= 0).sum()) == min(k, n)
        assert_ordered(found, user)
        assert (found.scores[user] <= unlimited.scores[user] + TOLERANCE).all()
        if found.certified[user]:
            assert np.array_equal(found.ranks[user], unlimited.ranks[user])


def test_the_limit_is_hit_where_beams_are_narrow() -> None:
    made = SearchWorld([12, 12, 12], 900, 5, node_vectors=False)
    found = made.exact(5, 5, max_prefixes=20)
    assert found.limit_hit is not None
    assert found.limit_hit.all()
    assert (found.ranks >= 0).all()
    unlimited = made.exact(5, 5)
    assert unlimited.expanded is not None
    assert (unlimited.expanded > 20).all()
    assert unlimited.certified.all()


def test_the_reference_backend_finds_the_same() -> None:
    for normalise in ("catalogue", "full"):
        made = SearchWorld([6, 5, 4], 70, 2, normalise=normalise)
        native, reference = (made.exact(8, 3, backend=name) for name in ("native", "reference"))
        assert np.array_equal(native.ranks, reference.ranks)
        np.testing.assert_allclose(native.scores, reference.scores, atol=TOLERANCE)


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
def test_calls_of_any_size_give_the_same(normalise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SearchWorld([12, 12, 12], 900, 5, normalise=normalise)
    filters = make_filters(made, "allow", 1)
    expected = made.exact(30, 5, filters=filters)
    for name, value in (("CALL_CELLS", 1), ("ROW_WIDTH", 3), ("ROUND_WIDTH", 1)):
        monkeypatch.setattr(exact, name, value)
        found = made.exact(30, 5, filters=filters)
        assert np.array_equal(found.ranks, expected.ranks), name
        np.testing.assert_allclose(found.scores, expected.scores, atol=TOLERANCE)


def test_an_empty_catalogue() -> None:
    made = SearchWorld([4, 4], 10, 0, node_vectors=False)
    made.trie, _ = Trie.build(np.zeros((0, 2), np.int32), [4, 4])
    for backend in ("native", "reference"):
        found = made.exact(3, 5, backend=backend)
        assert (found.ranks == -1).all()
        assert found.certified.all()


def test_no_users() -> None:
    made = SearchWorld([4, 4], 10, 0)
    made.memory = made.memory.of_users(torch.zeros(0, dtype=torch.int64))
    found = made.exact(3, 5)
    assert found.ranks.shape == found.scores.shape == (0, 3)
