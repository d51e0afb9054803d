"""Splits of interactions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Split
from mmgrec.data.splits import assign_split
from mmgrec_engine.errors import DataError


def table(counts: list[int], **columns: object) -> pl.DataFrame:
    users = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    items = np.concatenate([np.arange(n) for n in counts]).astype(np.int32)
    return pl.DataFrame({"user_row": users, "item_row": items, **columns})


def per_user(split: np.ndarray, users: pl.Series) -> list[tuple[int, int, int]]:
    return [
        tuple(int((split[users.to_numpy() == u] == s).sum()) for s in Split)  # type: ignore[misc]
        for u in range(int(users.max()) + 1)  # type: ignore[arg-type]
    ]


def test_random_gives_eight_one_one() -> None:
    rows = table([10, 20, 100, 4, 5, 15])
    counts = per_user(assign_split(rows, "random", 0), rows["user_row"])
    assert counts == [(8, 1, 1), (16, 2, 2), (80, 10, 10), (4, 0, 0), (3, 1, 1), (11, 2, 2)]


def test_random_is_seeded_and_independent_of_row_order() -> None:
    rows = table([30, 30, 30])
    split = assign_split(rows, "random", 1)
    assert np.array_equal(split, assign_split(rows, "random", 1))
    assert not np.array_equal(split, assign_split(rows, "random", 2))
    shuffle = np.random.default_rng(0).permutation(90)
    assert np.array_equal(assign_split(rows[shuffle], "random", 1), split[shuffle])


def test_leave_last_out_by_time_ties_by_row() -> None:
    rows = table([4, 2, 1], timestamp=[5, 9, 9, 1, 3, 2, 7])
    split = assign_split(rows, "leave-last-out", 0)
    assert split.tolist() == [0, 1, 2, 0, 2, 0, 0]


@pytest.mark.parametrize("names", [[0, 1, 2], ["train", "val", "test"], ["Train", "valid", "2"]])
def test_given_names(names: list[object]) -> None:
    rows = table([3]).with_columns(pl.Series("split", names))
    assert assign_split(rows, "given", 0).tolist() == [0, 1, 2]


def test_errors() -> None:
    rows = table([3])
    with pytest.raises(DataError, match="no split column"):
        assign_split(rows, "given", 0)
    with pytest.raises(DataError, match="no timestamp column"):
        assign_split(rows, "leave-last-out", 0)
    with pytest.raises(DataError, match="unknown split"):
        assign_split(rows, "thirds", 0)
    named = rows.with_columns(pl.Series("split", ["train", "dev", None]))
    with pytest.raises(DataError, match="dev"):
        assign_split(named, "given", 0)
