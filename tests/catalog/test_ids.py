"""External ids."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.errors import RequestError


@pytest.mark.parametrize("ids", [[7, -1, 0], ["007", "7", "é"]])
def test_ids_come_back_unchanged(ids: list[object]) -> None:
    table = IdTable("item", pl.Series(ids))
    rows = table.rows([ids[2], ids[0]], "history 0")
    assert rows.tolist() == [2, 0]
    assert table.ids(np.array([[1, -1]])).tolist() == [[ids[1], None]]


def test_unknown_id_is_named_with_its_type() -> None:
    table = IdTable("item", pl.Series([1, 2]))
    with pytest.raises(RequestError, match=r"history 3: unknown item id\n.*'1'\n.*type int"):
        table.rows([2, "1"], "history 3")
    with pytest.raises(RequestError, match=r"\[1\]"):
        table.rows([[1]], "deny")  # type: ignore[list-item]
    assert table.rows_or_missing([2, 9]).tolist() == [1, -1]


def test_parse_reads_what_people_type() -> None:
    assert IdTable("user", pl.Series([1, 2])).parse("2") == 2
    assert IdTable("user", pl.Series(["1"])).parse("1") == "1"
    with pytest.raises(RequestError, match="not a user id"):
        IdTable("user", pl.Series([1])).parse("x")
