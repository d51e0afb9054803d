"""A data set: users, items, interactions with their split, modality features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec.data.histories import Histories
from mmgrec_engine.artifact import open_folder, write_folder
from mmgrec_engine.errors import ArtifactError, DataError
from mmgrec_engine.writers import read_arrays, write_arrays, write_table

KIND = "dataset"


class Split(IntEnum):
    """What an interaction is for."""

    TRAIN = 0
    VALID = 1
    TEST = 2


@dataclass(frozen=True)
class Modality:
    """Features of one modality: ``values`` ``[N, D]`` float32, ``present`` ``[N]`` bool."""

    values: NDArray[np.float32]
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class Dataset:
    """A data set in memory; rows of the tables are the internal numbers of users and items.

    ``users``: column "user" (external id). ``items``: column "item" (external id) and any others,
    such as "title". ``interactions``: "user_row", "item_row" (Int32), "split" (Int8), and
    "timestamp" and "rating" where known, "split_before" where `knowing` has moved some.
    """

    name: str
    users: pl.DataFrame
    items: pl.DataFrame
    interactions: pl.DataFrame
    modalities: dict[str, Modality]

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue, those without interactions included."""
        return len(self.items)

    @property
    def in_order(self) -> bool:
        """Whether histories are in order of time."""
        return "timestamp" in self.interactions.columns

    def histories(self, *splits: Split) -> Histories:
        """Return every user's items of these splits, oldest first (else by item row)."""
        order = "timestamp" if self.in_order else "item_row"
        rows = self.interactions.filter(pl.col("split").is_in([int(s) for s in splits]))
        rows = rows.sort("user_row", order, maintain_order=True)
        columns = rows["user_row"].to_numpy(), rows["item_row"].to_numpy()
        return Histories.of_pairs(*columns, self.num_users)

    def without_features(self) -> Dataset:
        """Return the same data set without modalities, as an artifact keeps it."""
        return replace(self, modalities={})

    def hash_into(self, digest: hashlib._Hash) -> None:
        """Feed tables and features to a hash, so that results can say what they were made from."""
        for table in (self.users, self.items, self.interactions):
            digest.update(table.write_csv().encode())
        for name, modality in sorted(self.modalities.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(modality.values).data)

    def without(self, split: Split) -> Dataset:
        """Return the data set without the interactions of a split; users and items stay."""
        return replace(self, interactions=self.interactions.filter(pl.col("split") != int(split)))

    def knowing(self, split: Split) -> Dataset:
        """Return the data set with the interactions of a split among the training ones."""
        before = self.selection.interactions["split"].alias("split_before")
        moved = pl.when(pl.col("split") == int(split)).then(int(Split.TRAIN))
        kept = moved.otherwise(pl.col("split")).cast(before.dtype)
        return replace(
            self, interactions=self.interactions.with_columns(kept.alias("split"), before)
        )

    @property
    def selection(self) -> Dataset:
        """The data set to choose on: itself, or as it was before `knowing` moved interactions."""
        if "split_before" not in self.interactions.columns:
            return self
        before = self.interactions.with_columns(split="split_before").drop("split_before")
        return replace(self, interactions=before)

    def held_out(self, split: Split) -> Histories:
        """Return every user's items of a split; `DataError` where nobody has any."""
        found = self.histories(split)
        if not len(found.item_rows):
            moved = len(self.selection.histories(split).item_rows) > 0
            raise DataError(
                f"the {split.name.lower()} split is empty",
                value=self.name,
                remedy="this is a refit, which was trained on it: take the test split, or the run "
                "before the refit"
                if moved
                else None,
            )
        return found

    def save(self, path: Path, provenance: dict[str, Any] | None = None) -> None:
        """Write the data set as a folder, atomically."""
        features: dict[str, NDArray[Any]] = {}
        for name, modality in self.modalities.items():
            features[name] = modality.values
            features[f"{name}.present"] = modality.present
        config = {
            "name": self.name,
            "modalities": sorted(self.modalities),
            "provenance": provenance or {},
        }
        writers = {
            "users.parquet": write_table(self.users),
            "items.parquet": write_table(self.items),
            "interactions.parquet": write_table(self.interactions),
            "features.safetensors": write_arrays(features),
        }
        write_folder(path, KIND, config, writers)

    @classmethod
    def load(cls, path: Path) -> Dataset:
        """Read a data set folder.

        Raises
        ------
        ArtifactError
            Missing, unfinished, damaged or of another kind.
        DataError
            The contents do not fit together (row numbers, feature rows, NaN).
        """
        opened = open_folder(path, KIND)
        arrays = read_arrays(opened.file("features.safetensors"))
        try:
            modalities = {
                name: Modality(arrays[name], arrays[f"{name}.present"])
                for name in opened.config["modalities"]
            }
            tables = {
                name: pl.read_parquet(opened.file(f"{name}.parquet"))
                for name in ("users", "items", "interactions")
            }
        except (KeyError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(f"{path} is not a whole data set", value=error) from error
        dataset = cls(name=opened.config["name"], modalities=modalities, **tables)
        dataset.check()
        return dataset

    def check(self) -> None:
        """Verify that tables and features fit together; raise `DataError` where not."""
        for column, size in (("user_row", self.num_users), ("item_row", self.num_items)):
            rows = self.interactions[column]
            if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):  # type: ignore[arg-type]
                raise DataError(f"interactions: {column} out of range", allowed=f"0 to {size - 1}")
        for name, modality in self.modalities.items():
            check_features(name, modality.values, self.num_items)


def check_features(name: str, values: NDArray[Any], num_items: int | None = None) -> None:
    """Verify the shape and finiteness of a feature matrix; raise `DataError` naming the row."""
    if values.ndim != 2 or values.shape[1] < 1:
        raise DataError(f"{name} is not a matrix", value=values.shape, allowed="[items, width]")
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"{name} does not hold floating point numbers", value=values.dtype)
    if num_items is not None and len(values) != num_items:
        raise DataError(
            f"{name}: rows do not match the items",
            value=f"{len(values)} rows, {num_items} items",
            remedy="give one row per item, in the order of --items",
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: {len(bad)} rows hold NaN or infinity",
            value=f"first: row {bad[0]}",
            allowed="finite numbers; items that lack the modality are rows of zeros in a .npy, and "
            "no rows in a Parquet file",
            remedy="fix the rows, or zero them or leave them out if these items have no features",
        )
