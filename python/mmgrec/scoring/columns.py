"""The columns of the input and of the output.

Input, one row per user:

========= =================== ====================================================================
column    type                meaning
========= =================== ====================================================================
history   list of item ids    what the user has had; without this column: the user's training items
user      user id             names the user in the output; without it: the number of the row
allow     list of item ids    only these items; null: all
deny      list of item ids    never these items
where     string              named filters that an item has to pass; null: the job's
========= =================== ====================================================================

Output, one row per recommended item, best first: user, item, score (float32, log-probability), rank
(int32, from 1), certified (bool: this user's list is provably the best of the catalogue).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as types

from mmgrec_engine.errors import DataError

LISTS = ("history", "allow", "deny")
KNOWN = ("user", *LISTS, "where")


def known_columns(schema: pa.Schema, where: str) -> list[str]:
    """Return the columns of a table that count.

    Raises
    ------
    DataError
        There is neither a history nor a user, or a column is there twice.
    """
    found = [name for name in KNOWN if name in schema.names]
    twice = [name for name in found if schema.names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has a column twice", value=twice[0])
    if not {"user", "history"} & set(found):
        raise DataError(
            f"{where} has no users",
            value=", ".join(schema.names) or "no columns",
            allowed="a column 'history' (lists of item ids), or 'user' (users of the run's data)",
        )
    return found


def check_types(schema: pa.Schema, item_type: type, user_type: type) -> None:
    """Check that the columns of a table can hold ids like those of the artifact.

    Raises
    ------
    DataError
        A column has another type.
    """
    for name in LISTS:
        if name in schema.names:
            kind = schema.field(name).type
            if not _is_list(kind):
                raise DataError(
                    f"column {name!r} is no list", value=kind, allowed="a list of item ids"
                )
            _check_ids(name, kind.value_type, "item", item_type)
    if "user" in schema.names and "history" not in schema.names:
        _check_ids("user", schema.field("user").type, "user", user_type)
    if "where" in schema.names and not _is_text(_plain(schema.field("where").type)):
        raise DataError(
            "column 'where' is no text", value=schema.field("where").type, allowed="string"
        )


def output_schema(user: pa.DataType, item: pa.DataType) -> pa.Schema:
    """Return the schema of the results."""
    return pa.schema(
        [
            pa.field("user", user),
            pa.field("item", item),
            pa.field("score", pa.float32()),
            pa.field("rank", pa.int32()),
            pa.field("certified", pa.bool_()),
        ]
    )


def rejects_schema(user: pa.DataType) -> pa.Schema:
    """Return the schema of the rows that could not be scored."""
    return pa.schema([("row", pa.int64()), ("user", user), ("reason", pa.string())])


def user_type(schema: pa.Schema) -> pa.DataType:
    """Return the type of the users in the output."""
    return _plain(schema.field("user").type) if "user" in schema.names else pa.int64()


def _check_ids(name: str, kind: pa.DataType, what: str, wanted: type) -> None:
    kind = _plain(kind)
    fits = types.is_integer(kind) if wanted is int else _is_text(kind)
    if not fits and not types.is_null(kind):
        raise DataError(
            f"column {name!r} cannot hold {what} ids of this run",
            value=kind,
            allowed="integers" if wanted is int else "strings",
            remedy="ids are compared exactly; convert the column",
        )


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind
