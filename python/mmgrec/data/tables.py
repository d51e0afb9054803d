"""Reading of tables people have: Parquet, CSV, TSV, and RecBole's .inter and .item."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mmgrec_engine.errors import DataError

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t"}
ITEM_REMEDY = "rename the column with the items' ids to item"
"""Of tables besides the interactions, whose columns cannot be named by options."""


def read_table(path: Path, ids: tuple[str, ...]) -> pl.DataFrame:
    """Read a table; the type is told by the file's ending.

    ::

        parquet: as it is
        csv, tsv, inter, item: ids are strings, and integers only if every one of them reads back
        the same ("007" stays "007"); RecBole's type suffixes (user_id:token) are dropped

    Parameters
    ----------
    path : Path
        The file.
    ids : tuple of str
        Columns that hold ids, where present.

    Raises
    ------
    DataError
        The file is missing, of an unknown type, unreadable or empty.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="check the path")
    suffix = path.suffix.lower()
    if suffix != ".parquet" and suffix not in SEPARATORS:
        known = ", ".join([".parquet", *SEPARATORS])
        raise DataError(
            f"{path}: unknown file type",
            value=suffix or "none",
            allowed=known,
            remedy="save the table in one of these formats",
        )
    try:
        table = pl.read_parquet(path) if suffix == ".parquet" else _read_text(path, ids)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read",
            value=str(error).splitlines()[0],
            remedy="check that the file is whole, has the format its ending says, and is UTF-8",
        ) from error
    if len(table) == 0:
        raise DataError(f"{path} holds no rows", remedy="check that it is the right file")
    for name in ids:
        if name in table.columns:
            table = table.with_columns(_checked_ids(table[name], path))
    return table


def require_columns(
    table: pl.DataFrame,
    names: tuple[str, ...],
    path: Path,
    remedy: str = "name it with the --...-column options",
) -> None:
    """Raise `DataError` listing the columns there are, if one of ``names`` is not among them."""
    for name in names:
        if name not in table.columns:
            raise DataError(
                f"{path} has no column {name!r}",
                value=", ".join(table.columns),
                remedy=remedy,
            )


def _read_text(path: Path, ids: tuple[str, ...]) -> pl.DataFrame:
    recbole = path.suffix.lower() in (".inter", ".item")
    table = pl.read_csv(
        path,
        separator=SEPARATORS[path.suffix.lower()],
        infer_schema_length=None,
        quote_char=None if recbole else '"',
        schema_overrides=_id_types(path, ids),
    )
    table = table.rename({name: name.split(":")[0] for name in table.columns})
    return table.with_columns(_integers_if_exact(table[name]) for name in ids if name in table)


def _id_types(path: Path, ids: tuple[str, ...]) -> dict[str, pl.DataType]:
    with path.open(encoding="utf-8-sig") as stream:  # spreadsheets begin with a byte order mark
        header = stream.readline().rstrip("\r\n").split(SEPARATORS[path.suffix.lower()])
    plain = [name.strip('"') for name in header]
    return {name: pl.String() for name in plain if name.split(":")[0] in ids}


def _integers_if_exact(ids: pl.Series) -> pl.Series:
    numbers = ids.cast(pl.Int64, strict=False)
    same = (numbers.cast(pl.String) == ids).all()
    return numbers if same and numbers.null_count() == 0 else ids


def _checked_ids(ids: pl.Series, path: Path) -> pl.Series:
    if ids.null_count():
        row = int(ids.is_null().arg_true()[0])
        raise DataError(
            f"{path}: column {ids.name!r} has no id in row {row}",
            remedy="fill the id in, or drop the row",
        )
    if ids.dtype.is_integer():
        return _as_int64(ids, path)
    if ids.dtype == pl.String or ids.dtype == pl.Categorical:
        return ids.cast(pl.String)
    raise DataError(
        f"{path}: column {ids.name!r} holds no ids",
        value=ids.dtype,
        allowed="integers or strings",
        remedy="store the ids as one of these, or name another column",
    )


def _as_int64(ids: pl.Series, path: Path) -> pl.Series:
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count():
        raise DataError(
            f"{path}: column {ids.name!r} holds ids that are too large",
            value=ids.filter(numbers.is_null())[0],
            allowed="integers of 64 bits with a sign, or strings",
            remedy="store the ids as strings",
        )
    return numbers
