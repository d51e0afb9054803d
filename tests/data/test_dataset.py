"""Data set folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.data.describe import describe
from mmgrec_engine.errors import ArtifactError, DataError
from tests_shared import make_dataset


@pytest.mark.parametrize("strings", [True, False])
def test_round_trip_keeps_ids(tmp_path: Path, strings: bool) -> None:
    made = make_dataset(strings=strings)
    made.save(tmp_path / "d")
    read = Dataset.load(tmp_path / "d")
    assert read.items.equals(made.items)
    assert read.users.equals(made.users)
    assert read.interactions.equals(made.interactions)
    assert np.array_equal(read.modalities["visual"].values, made.modalities["visual"].values)
    assert np.array_equal(read.modalities["visual"].present, made.modalities["visual"].present)


def test_histories_are_in_time_order() -> None:
    rows = pl.DataFrame(
        {"user_row": [1, 1, 0], "item_row": [2, 0, 1], "split": [0, 0, 2], "timestamp": [9, 3, 1]},
        schema={
            "user_row": pl.Int32,
            "item_row": pl.Int32,
            "split": pl.Int8,
            "timestamp": pl.Int64,
        },
    )
    users = pl.DataFrame({"user": ["a", "b", "c"]})
    items = pl.DataFrame({"item": [5, 6, 7]})
    made = Dataset("d", users, items, rows, {})
    train = made.histories(Split.TRAIN)
    assert train.lengths.tolist() == [0, 2, 0]
    assert train.of(1).tolist() == [0, 2]
    assert made.histories(Split.TRAIN, Split.TEST).lengths.tolist() == [1, 2, 0]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    made = make_dataset()
    outside = made.interactions.with_columns(pl.lit(99, pl.Int32).alias("item_row"))
    with pytest.raises(DataError, match="item_row out of range"):
        replace(made, interactions=outside).check()
    values = made.modalities["visual"].values.copy()
    values[7, 0] = np.nan
    bad = {"visual": Modality(values, np.ones(len(values), bool))}
    with pytest.raises(DataError, match="row 7"):
        replace(made, modalities=bad).check()
    made.save(tmp_path)
    (tmp_path / "users.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"users\.parquet is missing"):
        Dataset.load(tmp_path)


def test_description() -> None:
    figures = describe(make_dataset())
    assert figures["users"] == 60
    assert figures["modalities"] == {"visual": {"width": 6, "missing": 1}}
    assert sum(figures["splits"].values()) == figures["interactions"]
    assert figures["density"] == pytest.approx(figures["interactions"] / 2400)
