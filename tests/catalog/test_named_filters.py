"""Named filters and their combinations."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.catalog.named_filters import LONGEST_EXPRESSION, NamedFilters
from mmgrec_engine.errors import RequestError


@pytest.fixture
def filters() -> NamedFilters:
    made = NamedFilters()
    made.set("even", np.arange(0, 10, 2), 10)
    made.set("low", np.arange(5), 10)
    return made


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("even", [0, 2, 4, 6, 8]),
        (" even and low ", [0, 2, 4]),
        ("even or low", [0, 1, 2, 3, 4, 6, 8]),
        ("not even and not low", [5, 7, 9]),
        ("not (even or low)", [5, 7, 9]),
        ("even and not low or low and not even", [1, 3, 6, 8]),
    ],
)
def test_combinations(filters: NamedFilters, expression: str, expected: list[int]) -> None:
    assert filters.resolve(expression, 10).numbers().tolist() == expected
    # The second time it is the same object.
    assert filters.resolve(expression, 10) is filters.resolve(expression, 10)


def test_items_that_come_later_are_in_no_set(filters: NamedFilters) -> None:
    assert filters.resolve("even", 12).numbers().tolist() == [0, 2, 4, 6, 8]
    assert filters.resolve("not even", 12).numbers().tolist() == [1, 3, 5, 7, 9, 10, 11]


def test_a_new_upload_replaces_the_old_one(filters: NamedFilters) -> None:
    assert len(filters.resolve("even and low", 10)) == 3
    filters.set("even", np.array([1]), 10)
    assert filters.resolve("even and low", 10).numbers().tolist() == [1]
    filters.remove("low")
    assert filters.names() == ["even"]
    with pytest.raises(RequestError, match=r"unknown filter\n.*'low'\n.*even"):
        filters.resolve("low", 10)
    with pytest.raises(RequestError, match="unknown filter"):
        filters.remove("low")


@pytest.mark.parametrize(
    "expression",
    ["", "even and", "even(low)", "even + low", "1", "even < low", "even; low", "(" * 300, "\x00"],
)
def test_what_cannot_be_read_is_refused(filters: NamedFilters, expression: str) -> None:
    with pytest.raises(RequestError, match="filter"):
        filters.resolve(expression, 10)


def test_long_and_deep_expressions(filters: NamedFilters) -> None:
    deep = "not " * (LONGEST_EXPRESSION // 4 - 2) + "even"
    assert len(filters.resolve(deep, 10)) == 5
    with pytest.raises(RequestError, match="too long"):
        filters.resolve("not " + deep + " " * 100, 10)
    for wrong in ("-" * (LONGEST_EXPRESSION - 1) + "a", "~" * 500 + "even", "a." * 400 + "a"):
        with pytest.raises(RequestError, match="a filter expression"):
            filters.resolve(wrong, 10)


# The last one is a ligature, which Python's parser reads as "fi".
@pytest.mark.parametrize("name", ["", "in stock", "not", "if", "None", "1st", "a-b", "\ufb01lm"])
def test_names_fit_expressions(filters: NamedFilters, name: str) -> None:
    with pytest.raises(RequestError, match="cannot have this name"):
        filters.set(name, np.arange(2), 10)
