"""What callers say about items that they edit, checked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mmgrec_engine.catalog.edited_items import as_new_ids, checked_vectors
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import EditError, RequestError

ITEMS = pl.DataFrame({"item": pl.Series([10, 20], dtype=pl.Int32)})


@pytest.fixture
def state() -> CatalogState:
    trie, _ = Trie.build(np.array([[0, 0], [1, 1]], np.int32), [2, 2])
    return CatalogState(trie, IdTable("item", ITEMS["item"]), np.zeros((2, 3), np.float32))


def test_new_ids_come_back_as_plain_values(state: CatalogState) -> None:
    found = as_new_ids([np.int64(30), 40], state, ITEMS)
    assert found == [30, 40]
    assert [type(each) for each in found] == [int, int]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([30, "40"], "of another type"),
        ([True], "of another type"),
        ([30, 30], "given twice"),
        ([20], "an id that an item has"),
        # What the items table could not hold would be in the journal for good.
        ([2**31], "cannot be stored"),
        ([-(2**70)], "cannot be stored"),
    ],
)
def test_ids_that_cannot_be_inserted_are_refused(
    state: CatalogState, ids: list[object], message: str
) -> None:
    with pytest.raises(EditError, match=message):
        as_new_ids(ids, state, ITEMS)


@pytest.mark.parametrize("number", [10**400, 1e300, float("nan"), "x", None])
def test_numbers_that_are_none_are_refused(number: object) -> None:
    with pytest.raises(RequestError, match=r"no matrix of numbers|NaN or infinity"):
        checked_vectors("vectors", [[0.0, number]], (1, 2))  # type: ignore[arg-type, list-item]
