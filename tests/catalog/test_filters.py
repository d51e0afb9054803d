"""Filters per user."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.errors import RequestError


def ranks(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_lists_are_concatenated() -> None:
    made = RankFilter.from_lists([ranks(3, 1, 3), ranks()], None, 5)
    assert made.deny.offsets.tolist() == [0, 3, 3]
    assert made.deny.of_user(0).tolist() == [3, 1, 3]
    assert made.allow is None
    assert made.mask(0, 5).tolist() == [True, False, True, False, True]


def test_mask_deny_wins_over_allow() -> None:
    made = RankFilter.from_lists([ranks(1), ranks(0)], [ranks(1, 2), None], 4)
    assert made.mask(0, 4).tolist() == [False, False, True, False]
    assert made.mask(1, 4).tolist() == [False, True, True, True]


def test_an_empty_allow_list_allows_nothing() -> None:
    made = RankFilter.from_lists([ranks()], [ranks()], 3)
    assert not made.mask(0, 3).any()


@pytest.mark.parametrize("bad", [-1, 5])
def test_rank_outside_the_catalogue(bad: int) -> None:
    with pytest.raises(RequestError, match="user 1"):
        RankFilter.from_lists([ranks(), ranks(bad)], None, 5)


@pytest.mark.parametrize("bad", [-1, 5, -(2**63)])
def test_rank_outside_the_catalogue_for_everybody(bad: int) -> None:
    with pytest.raises(RequestError, match="all users"):
        RankFilter.from_lists([ranks()], None, 5, deny_all=ranks(0, bad))


def test_nobody_gets_what_is_denied_to_all() -> None:
    made = RankFilter.from_lists([ranks(1), ranks()], [None, ranks(0, 2)], 4, deny_all=ranks(2, 2))
    assert made.mask(0, 4).tolist() == [True, False, False, True]
    assert made.mask(1, 4).tolist() == [True, False, False, False]
    assert (made.of_users(np.array([1, 1])).mask(1, 4) == made.mask(1, 4)).all()


@pytest.mark.parametrize("with_allow", [False, True])
def test_filters_of_some_users_repeated(with_allow: bool) -> None:
    nothing = np.zeros(0, np.int64)
    deny = [np.array([1, 4]), nothing, np.array([0, 2, 3])]
    allow = [None, np.array([2, 5]), nothing] if with_allow else None
    filters = RankFilter.from_lists(deny, allow, 6)
    rows = np.array([2, 0, 0, 1, 2])
    chosen = filters.of_users(rows)
    for place, user in enumerate(rows):
        assert (chosen.mask(place, 6) == filters.mask(int(user), 6)).all()
    assert len(filters.of_users(rows[:0]).deny.offsets) == 1
