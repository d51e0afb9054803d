"""External ids."""

from __future__ import annotations

from collections.abc import Hashable

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


@pytest.mark.parametrize("ids", [[4, 3, 8], [0, 10**12, -(2**63), 2**63 - 1]])
def test_numbers_are_found_in_lists_and_arrays_of_every_width(ids: list[int]) -> None:
    table = IdTable("item", pl.Series(ids))
    asked = [*ids, ids[0], 5]
    expected = [*range(len(ids)), 0, -1]
    assert table.rows_or_missing(asked).tolist() == expected
    assert table.rows_or_missing(tuple(asked)).tolist() == expected
    assert table.rows_or_missing([np.int64(i) for i in asked]).tolist() == expected
    array = np.array(asked)
    assert table.rows_or_missing(array).tolist() == expected
    assert table.rows_or_missing(np.repeat(array, 2)[::2]).tolist() == expected
    assert table.rows_or_missing(array.astype(object)).tolist() == expected
    assert table.rows_or_missing(array[:0]).tolist() == table.rows_or_missing([]).tolist() == []
    if max(ids) < 128:
        assert table.rows_or_missing(array.astype(np.int8)).tolist() == expected
        assert table.rows_or_missing(array.astype(np.uint64)).tolist() == expected


@pytest.mark.parametrize(
    "stranger", [True, 1.0, "1", None, np.float32(1), np.True_, 2**64 + 1, [1]]
)
def test_what_only_looks_like_a_number_is_unknown(stranger: object) -> None:
    table = IdTable("item", pl.Series([0, 1]))
    assert table.rows_or_missing([0, stranger, 1]).tolist() == [0, -1, 1]  # type: ignore[list-item]
    with pytest.raises(RequestError, match="deny: unknown item id"):
        table.rows([0, stranger], "deny")  # type: ignore[list-item]


def test_an_array_of_other_numbers_is_unknown() -> None:
    table = IdTable("item", pl.Series([0, 1]))
    assert table.rows_or_missing(np.array([0.0, 1.0])).tolist() == [-1, -1]
    assert table.rows_or_missing(np.array([True])).tolist() == [-1]
    assert table.rows_or_missing(np.array([[0, 1]])).tolist() == [-1]
    assert table.rows_or_missing(np.array([2**64 - 1], np.uint64)).tolist() == [-1]


def test_numbers_beyond_64_bits_are_ids_as_well() -> None:
    table = IdTable("item", pl.Series([2**64 - 1, 3], dtype=pl.UInt64))
    assert table.rows([3, 2**64 - 1], "test").tolist() == [1, 0]


@pytest.mark.parametrize("step", [1, 2])
def test_sets_of_numbers_are_bits(step: int) -> None:
    table = IdTable("item", pl.Series(np.random.default_rng(0).permutation(80) * step - 7))
    asked = [step * i - 7 for i in (0, 3, 3, 79)]
    places = [step * i for i in (0, 3, 79)]
    for ids in (asked, np.array(asked), np.array(asked, np.int16), np.repeat(asked, 2)[::2]):
        words = table.bits(ids)
        assert words is not None
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")
        assert np.flatnonzero(bits).tolist() == places
    rows = table.rows(asked, "test")
    assert table.bits_of_rows(rows).tolist() == [places[0], places[1], places[1], places[2]]


def test_what_cannot_be_bits_is_looked_up() -> None:
    table = IdTable("item", pl.Series([*range(39), 40]))
    assert table.bits([0, 40]) is not None
    looked_up = ([], [39], [41], [-1], [True], [1.0], [np.int64(1)], [2**70], range(3), [1] * 6)
    for ids in looked_up:
        assert table.bits(ids) is None  # type: ignore[arg-type]
    assert table.bits(np.array([1], np.uint64)) is None
    assert table.bits(np.array([[1]])) is None
    for few in (pl.Series(["1", "2"]), pl.Series([1, 1000]), pl.Series([1], dtype=pl.UInt64)):
        assert IdTable("item", few).bits([1]) is None


def test_later_rows_have_bits_where_the_first_table_had_room() -> None:
    table = IdTable("item", pl.Series([*range(39), 40]))
    longer = table.grown([39, None, 41, 3])
    assert longer.bits_of_rows(np.array([0, 39, 40, 43])).tolist() == [0, 40, 39, 3]
    nowhere = longer.bits_of_rows(np.array([41, 42]))
    assert nowhere.min() > 40
    assert longer.bits([3, 40]) is not None
    assert longer.bits([39]) is None  # it was not there at first


def test_parse_reads_what_people_type() -> None:
    assert IdTable("user", pl.Series([1, 2])).parse("2") == 2
    assert IdTable("user", pl.Series(["1"])).parse("1") == "1"
    with pytest.raises(RequestError, match="not a user id"):
        IdTable("user", pl.Series([1])).parse("x")


@pytest.mark.parametrize(("a", "b", "c", "d"), [("a", "b", "c", "d"), (7, 9, 8, -(10**12))])
def test_a_longer_table_leaves_the_shorter_one_as_it_is(
    a: Hashable, b: Hashable, c: Hashable, d: Hashable
) -> None:
    short = IdTable("item", pl.Series([a, b]))
    longer = short.grown([c, None, a])
    longest = longer.grown([a, d])
    everything = [(a, 0, 4, 5), (b, 1, 1, 1), (c, -1, 2, 2), (d, -1, -1, 6)]
    for name, *rows in everything:
        found = [int(t.rows_or_missing([name])[0]) for t in (short, longer, longest)]
        assert found == rows
    assert [len(table) for table in (short, longer, longest)] == [2, 5, 7]
    assert longest.ids(np.array([0, 3, 5, 6, -1])).tolist() == [a, None, a, d, None]
    with pytest.raises(RequestError, match=f"unknown item id\n.*{c!r}"):
        short.rows([a, c], "test")
