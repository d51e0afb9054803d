"""Ids of items that callers want to insert."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mmgrec_engine.catalog.edited_items import as_new_ids
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import EditError


@pytest.fixture
def state() -> CatalogState:
    """Return two items, 7 and 9."""
    trie, _ = Trie.build(np.array([[0, 0], [1, 0]], np.int32), [2, 1])
    return CatalogState(trie, IdTable("item", pl.Series([7, 9])), np.zeros((2, 4), np.float32))


def test_new_ids_are_plain_numbers(state: CatalogState) -> None:
    assert as_new_ids([8, np.int64(-3), 2**63 - 1], state) == [8, -3, 2**63 - 1]
    assert all(type(i) is int for i in as_new_ids(np.array([1, 2]), state))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([8, 9], "new item 1 has an id that an item has"),
        ([8, "8"], "new item 1 has an id of another type"),
        ([True], "new item 0 has an id of another type"),
        ([8, 8], "given twice"),
        ([2**63], "new item 0 has an id that is no 64-bit number"),
        ([-(2**63) - 1], "no 64-bit number"),
    ],
)
def test_ids_that_cannot_be_new_are_refused(
    state: CatalogState, ids: list[object], message: str
) -> None:
    with pytest.raises(EditError, match=message):
        as_new_ids(ids, state)  # type: ignore[arg-type]
