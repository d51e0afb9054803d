"""A user's own tables and features to a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from mmgrec.data.dataset import Dataset, Modality
from mmgrec.data.features.image import image_features
from mmgrec.data.features.text import text_features
from mmgrec.data.modalities import read_matrix, read_modality, repeated_item
from mmgrec.data.splits import assign_split
from mmgrec.data.tables import ITEM_REMEDY, read_table, require_columns
from mmgrec_engine.errors import DataError

COLUMNS = ("user", "item", "timestamp", "rating", "split")
RECBOLE_NAMES = {"user": "user_id", "item": "item_id"}


@dataclass(frozen=True)
class ImportOptions:
    """How to read an interactions table.

    ``columns`` maps our names (user, item, timestamp, rating, split) to the table's where they
    differ. ``split`` None: the table's split column if it has one, else random.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    seed: int = 0
    min_rating: float | None = None
    on_duplicate: Literal["error", "keep-first"] = "error"


def import_dataset(
    interactions: Path,
    *,
    name: str,
    modalities: Mapping[str, Path],
    items: Path | None,
    options: ImportOptions,
) -> Dataset:
    """Build a data set from files.

    ::

        interactions = user, item, and timestamp, rating, split where the table has them
        catalogue    = the items table; else the rows of the .npy matrices (item id = row number);
                       else the items that occur
        features     = one modality per file

    Parameters
    ----------
    interactions : Path
        Parquet, CSV, TSV or RecBole .inter.
    name : str
        Name of the data set.
    modalities : mapping
        Modality name to .npy or Parquet file.
    items : Path, optional
        Table with a column "item" (or "item_id"), optionally "title" and others.
    options : ImportOptions
        Columns, split, filters.

    Raises
    ------
    DataError
        Anything that does not fit; the message says what and how to mend it.
    """
    table = read_interactions(interactions, options)
    catalogue = _catalogue(table, items, modalities)
    features = {n: read_modality(path, catalogue["item"]) for n, path in modalities.items()}
    return assemble(name, table, catalogue, features, options)


def read_interactions(path: Path, options: ImportOptions) -> pl.DataFrame:
    """Read a table of interactions, with our column names and without low ratings.

    A column that ``options.columns`` names wins over one that has our name already.
    """
    chosen = options.columns
    ids = (chosen.get("user", "user"), chosen.get("item", "item"), *RECBOLE_NAMES.values())
    table = read_table(path, ids)
    require_columns(table, tuple(chosen.values()), path)
    source = {ours: _source(table, ours, chosen) for ours in COLUMNS}
    require_columns(table, (source["user"], source["item"]), path)
    present = {ours: theirs for ours, theirs in source.items() if theirs in table.columns}
    table = table.select(pl.col(theirs).alias(ours) for ours, theirs in present.items())
    table = table.with_columns(pl.selectors.float().fill_nan(None))  # no rating, no timestamp
    return table if options.min_rating is None else _well_rated(table, path, options.min_rating)


def _source(table: pl.DataFrame, ours: str, chosen: Mapping[str, str]) -> str:
    if ours in chosen:
        return chosen[ours]
    recbole = RECBOLE_NAMES.get(ours, ours)
    return recbole if ours not in table.columns and recbole in table.columns else ours


def _well_rated(table: pl.DataFrame, path: Path, least: float) -> pl.DataFrame:
    require_columns(table, ("rating",), path)
    if not table["rating"].dtype.is_numeric():
        raise DataError(
            f"{path}: ratings are not numbers",
            value=table["rating"].dtype,
            remedy="store them as numbers, or leave --min-rating out",
        )
    if table["rating"].null_count():
        raise DataError(
            f"{path}: {table['rating'].null_count()} rows have no rating",
            remedy="fill them in, drop the rows, or leave --min-rating out",
        )
    kept = table.filter(pl.col("rating") >= least)
    if len(kept) == 0:
        raise DataError(
            f"{path}: no rating reaches --min-rating",
            value=least,
            allowed=f"at most {table['rating'].max()!r}",
            remedy="lower --min-rating",
        )
    return kept


def assemble(
    name: str,
    table: pl.DataFrame,
    catalogue: pl.DataFrame,
    modalities: dict[str, Modality],
    options: ImportOptions,
) -> Dataset:
    """Make a data set: number users and items, check for duplicates, split."""
    table = _without_duplicates(table, options.on_duplicate)
    users = table.select("user").unique(maintain_order=True).sort("user")
    if table["item"].dtype != catalogue["item"].dtype:
        raise DataError(
            "item ids of interactions and catalogue differ in type",
            value=f"{table['item'].dtype} and {catalogue['item'].dtype}",
            remedy="store them alike, all as integers or all as strings",
        )
    table = table.join(
        users.with_row_index("user_row"), on="user", how="left", maintain_order="left"
    )
    numbered = catalogue.select("item").with_row_index("item_row")
    table = table.join(numbered, on="item", how="left", maintain_order="left")
    unknown = table.filter(pl.col("item_row").is_null())
    if len(unknown):
        raise DataError(
            f"{len(unknown)} interactions name items that are not in the catalogue",
            value=f"first: {unknown['item'][0]!r}",
            remedy="add them to the items table and the features, or drop these interactions",
        )
    table = table.with_columns(pl.col("user_row", "item_row").cast(pl.Int32))
    split = options.split or ("given" if "split" in table.columns else "random")
    table = table.with_columns(pl.Series("split", assign_split(table, split, options.seed)))
    dataset = Dataset(name, users, catalogue, table.drop("user", "item"), modalities)
    dataset.check()
    return dataset


def _without_duplicates(table: pl.DataFrame, policy: str) -> pl.DataFrame:
    repeated = table.select("user", "item").is_duplicated()
    if not repeated.any():
        return table
    if policy == "keep-first":
        return table.unique(["user", "item"], keep="first", maintain_order=True)
    extra = len(table) - table.n_unique(["user", "item"])
    first = table.filter(repeated).row(0, named=True)
    raise DataError(
        f"{extra} interactions repeat a user-item pair",
        value=f"first: user {first['user']!r}, item {first['item']!r}",
        remedy="drop them, or pass --on-duplicate keep-first",
    )


def _catalogue(
    table: pl.DataFrame, items: Path | None, modalities: Mapping[str, Path]
) -> pl.DataFrame:
    if items is not None:
        return read_items(items)
    matrices = [path for path in modalities.values() if path.suffix.lower() == ".npy"]
    if not matrices:
        return table.select("item").unique().sort("item")
    rows = len(read_matrix(matrices[0]))
    if not table["item"].dtype.is_integer():
        raise DataError(
            f"{matrices[0]}: which item has which row?",
            value=f"item ids are strings, e.g. {table['item'][0]!r}",
            remedy="give --items, a table with one item per row of the matrix, in its order",
        )
    outside = table.filter(~pl.col("item").is_between(0, rows - 1))
    if len(outside):
        raise DataError(
            f"{matrices[0]} has {rows} rows, and item ids are not row numbers",
            value=f"first id without a row: {outside['item'][0]}",
            allowed=f"0 to {rows - 1}",
            remedy="give --items, a table with one item per row of the matrix, in its order",
        )
    return pl.DataFrame({"item": np.arange(rows, dtype=np.int64)})


def read_items(path: Path) -> pl.DataFrame:
    """Read an items table: unique ids in column "item", other columns kept."""
    table = read_table(path, ("item", "item_id"))
    if "item" not in table.columns and "item_id" in table.columns:
        table = table.rename({"item_id": "item"})
    require_columns(table, ("item",), path, ITEM_REMEDY)
    repeated = table["item"].is_duplicated()
    if repeated.any():
        raise repeated_item(path, table["item"].filter(repeated)[0])
    return table


def add_features(
    dataset: Dataset, text_columns: list[str], text_method: str, images: Path | None
) -> Dataset:
    """Add a "text" modality from columns of the items and an "image" one from a folder."""
    modalities = dict(dataset.modalities)
    for name, wanted in (("text", bool(text_columns)), ("image", images is not None)):
        if wanted and name in modalities:
            raise DataError(
                f"two sources for the modality {name!r}",
                remedy="give its --modality another name, or leave --text or --images out",
            )
    if text_columns:
        missing = [c for c in text_columns if c not in dataset.items.columns]
        if missing:
            raise DataError(
                "--text names columns that the items do not have",
                value=", ".join(missing),
                allowed=", ".join(dataset.items.columns),
                remedy="give --items with these columns",
            )
        joined = pl.concat_str(pl.col(text_columns), separator=". ", ignore_nulls=True)
        try:
            texts = dataset.items.select(joined).to_series().to_list()
        except pl.exceptions.PolarsError as error:
            raise DataError(
                "--text names columns that cannot be read as text",
                value=str(error).splitlines()[0],
                allowed="strings and numbers",
                remedy="store lists and the like as strings, such as 'Comedy Drama'",
            ) from error
        modalities["text"] = text_features(texts, text_method)
    if images is not None:
        modalities["image"] = image_features(images, dataset.items["item"].to_list())
    return replace(dataset, modalities=modalities)
