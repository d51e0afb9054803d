"""Splits of interactions into training, validation and test."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec.data.dataset import Split
from mmgrec_engine.errors import DataError

SplitName = Literal["given", "random", "leave-last-out"]
NAMES = {
    "train": Split.TRAIN,
    "valid": Split.VALID,
    "validation": Split.VALID,
    "val": Split.VALID,
    "test": Split.TEST,
    "0": Split.TRAIN,
    "1": Split.VALID,
    "2": Split.TEST,
}


def assign_split(interactions: pl.DataFrame, split: str, seed: int) -> NDArray[np.int8]:
    """Return the split of every interaction ``[E]``.

    Parameters
    ----------
    interactions : polars.DataFrame
        "user_row", "item_row", and "split" or "timestamp" where the split needs it.
    split : {"given", "random", "leave-last-out"}
        The column's; 8:1:1 per user at random (the paper's); each user's last interaction is test
        and the one before validation.
    seed : int
        Of the random split.

    Raises
    ------
    DataError
        The split is unknown, or the column it needs is missing.
    """
    if split == "given":
        return _given(interactions)
    if split == "random":
        return _random(interactions, seed)
    if split == "leave-last-out":
        return _leave_last_out(interactions)
    raise DataError(
        "unknown split",
        value=split,
        allowed="given, random, leave-last-out",
        remedy="choose one of these with --split",
    )


def _given(interactions: pl.DataFrame) -> NDArray[np.int8]:
    if "split" not in interactions.columns:
        raise DataError(
            "the table has no split column",
            value=", ".join(interactions.columns),
            remedy="name it with --split-column, or choose --split random or leave-last-out",
        )
    names = interactions["split"].cast(pl.String).str.to_lowercase()
    unknown = names.filter(~names.is_in(list(NAMES)) | names.is_null())
    if len(unknown):
        raise DataError(
            "unknown split name",
            value=repr(unknown[0]),
            allowed=", ".join(NAMES),
            remedy="rename it in the split column, or choose another --split",
        )
    return np.array([NAMES[name] for name in names], dtype=np.int8)


def _random(interactions: pl.DataFrame, seed: int) -> NDArray[np.int8]:
    # A user with n items gives round(n / 10) to test and as many to validation; the random keys are
    # drawn in (user, item) order, so that the order of the table's rows does not matter.
    users, items = interactions["user_row"].to_numpy(), interactions["item_row"].to_numpy()
    canonical = np.lexsort((items, users))
    keys = np.empty(len(users))
    keys[canonical] = np.random.default_rng(seed).random(len(users))
    position, counts = _position(users, np.lexsort((keys, users)))
    held = np.floor(counts / 10 + 0.5).astype(np.int64)
    split = np.full(len(users), Split.TRAIN, np.int8)
    split[position < 2 * held] = Split.VALID
    split[position < held] = Split.TEST
    return split


def _leave_last_out(interactions: pl.DataFrame) -> NDArray[np.int8]:
    # A user needs three interactions to give up two; with two, only the test one is held out.
    if "timestamp" not in interactions.columns:
        raise DataError(
            "leave-last-out needs the order in time, and the table has no timestamp column",
            value=", ".join(interactions.columns),
            remedy="name it with --timestamp-column, or choose --split random",
        )
    if interactions["timestamp"].null_count():
        raise DataError(
            f"{interactions['timestamp'].null_count()} interactions have no timestamp",
            remedy="fill them in, drop them, or choose --split random",
        )
    users = interactions["user_row"].to_numpy()
    times = interactions["timestamp"].to_numpy()
    position, counts = _position(users, np.lexsort((np.arange(len(users)), times, users)))
    from_end = counts - 1 - position
    split = np.full(len(users), Split.TRAIN, np.int8)
    split[(from_end == 1) & (counts >= 3)] = Split.VALID
    split[(from_end == 0) & (counts >= 2)] = Split.TEST
    return split


def _position(
    users: NDArray[np.int32], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every interaction's place among its user's in ``order``, and how many those are."""
    counts = np.bincount(users, minlength=int(users.max(initial=-1)) + 1)
    starts = np.cumsum(counts) - counts
    position = np.empty(len(users), np.int64)
    position[order] = np.arange(len(users)) - starts[users[order]]
    return position, counts[users]
