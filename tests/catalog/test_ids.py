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


def test_a_longer_table_leaves_the_shorter_one_as_it_is() -> None:
    short = IdTable("item", pl.Series(["a", "b"]))
    longer = short.grown(["c", None, "a"])
    longest = longer.grown(["a", "d"])
    everything = [("a", 0, 4, 5), ("b", 1, 1, 1), ("c", -1, 2, 2), ("d", -1, -1, 6)]
    for name, *rows in everything:
        found = [int(t.rows_or_missing([name])[0]) for t in (short, longer, longest)]
        assert found == rows
    assert [len(table) for table in (short, longer, longest)] == [2, 5, 7]
    assert longest.ids(np.array([0, 3, 5, 6, -1])).tolist() == ["a", None, "a", "d", None]
    with pytest.raises(RequestError, match=r"unknown item id\n.*'c'"):
        short.rows(["a", "c"], "test")
