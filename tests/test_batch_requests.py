"""Requests from arrays of rows: the same search as of lists of ids, and filters per user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgrec_engine.batch_requests import RowLists, UserBatch
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import RequestError


@pytest.fixture(scope="module")
def engine(run_folder: Path) -> Engine:
    return Engine.load(run_folder)


def lists(*rows: list[int]) -> RowLists:
    offsets = np.cumsum([0, *map(len, rows)])
    return RowLists(offsets, np.array([row for part in rows for row in part], np.int64))


def parts(of: RowLists) -> list[list[int]]:
    return [of.rows[a:b].tolist() for a, b in zip(of.offsets[:-1], of.offsets[1:], strict=True)]


def test_row_lists_are_lists_per_user() -> None:
    some = lists([3, 1, 3], [], [2], [5, 5, 4, 5])
    assert some.owners.tolist() == [0, 0, 0, 2, 3, 3, 3, 3]
    assert parts(some.without_repeats()) == [[1, 3], [], [2], [4, 5]]
    assert parts(some.last(2)) == [[1, 3], [], [2], [4, 5]]
    assert some.last(9) is some
    assert parts(some.of_users(np.array([3, 0, 3]))) == [[5, 5, 4, 5], [3, 1, 3], [5, 5, 4, 5]]
    assert parts(some.where(some.rows != 5)) == [[3, 1, 3], [], [2], [4]]
    joined = some.joined(lists([9], [8, 7], [], [6]))
    assert parts(joined) == [[3, 1, 3, 9], [8, 7], [2], [5, 5, 4, 5, 6]]


def test_every_user_may_have_filters_of_their_own(engine: Engine) -> None:
    engine.set_filter("few", ["i07", "i09", "i11", "i13"])
    histories = [["i01", "i03"], ["i00"], ["i02", "i39", "i10"], ["i05"]]
    ids, state = engine.item_ids, engine.state
    rows = [ids.rows(h, "h").tolist() for h in histories]
    deny = [ids.rows(d, "d").tolist() for d in (["i09"], [], ["i11"], [])]
    allow = [ids.rows(a, "a").tolist() for a in ([], ["i02", "i07", "i00"], [], [])]
    batch = UserBatch(
        lists(*rows),
        deny=lists(*deny),
        allow=lists(*allow),
        allow_all=np.array([1, 0, 1, 0], np.uint8),
        expressions=["few", "not few"],
        expression_of_user=np.array([0, -1, 1, -1], np.int32),
    )
    request = engine.prepare_batch(state, batch, k=6, beam_width=40)
    found = engine.answer(state, engine.searcher.search(state, request)).items.tolist()
    alone = [
        {"where": "few", "deny": ["i09"]},
        {"allow": ["i02", "i07", "i00"]},
        {"where": "not few", "deny": ["i11"]},
        {"allow": []},
    ]
    for history, items, filters in zip(histories, found, alone, strict=True):
        expected = engine.recommend([history], k=6, beam_width=40, **filters)
        assert items == expected.items[0].tolist()
    assert found[3] == [None] * 6


def test_filters_apply_to_everybody_unless_told_otherwise(engine: Engine) -> None:
    engine.set_filter("few", ["i07", "i09", "i11", "i13"])
    histories, state = lists([1, 3], [0]), engine.state
    rows = engine.item_ids.rows(["i05", "i09"], "a").tolist()
    for batch, wanted in (
        (UserBatch(histories, allow=lists(rows, rows)), {"i05", "i09"}),
        (UserBatch(histories, expressions=["few"]), {"i07", "i09", "i11", "i13"}),
    ):
        request = engine.prepare_batch(state, batch, k=5, beam_width=40, exclude_seen=False)
        found = engine.answer(state, engine.searcher.search(state, request)).items.tolist()
        assert [set(items) - {None} for items in found] == [wanted] * 2


def test_without_filters_seen_items_come_back(engine: Engine) -> None:
    batch, state = UserBatch(lists([0, 1])), engine.state
    request = engine.prepare_batch(state, batch, k=40, beam_width=40, exclude_seen=False)
    assert request.filters is None
    assert set(engine.searcher.search(state, request).ranks[0].tolist()) == set(range(40))


def test_what_cannot_be_asked_is_refused(engine: Engine) -> None:
    batch = UserBatch(
        lists([0]), expressions=["nonsense"], expression_of_user=np.zeros(1, np.int32)
    )
    with pytest.raises(RequestError, match="unknown filter"):
        engine.prepare_batch(engine.state, batch, k=1, beam_width=1)
    with pytest.raises(RequestError, match="k is out of range"):
        engine.prepare_batch(engine.state, UserBatch(lists([0])), k=0, beam_width=1)
