"""What callers of a live catalogue pass, as the arrays that the C++ core takes."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.errors import EditError

_INT32_MAX = 2**31 - 1


def as_codes(codes: NDArray[np.integer], num_levels: int) -> NDArray[np.int32]:
    """Return Rec-IDs as int32 ``[n, T]``; tokens of any integer type that do not fit stay wrong."""
    array = np.asarray(codes)
    if array.ndim != 2 or array.shape[1] != num_levels or not _whole(array):
        raise EditError(
            "these are no Rec-IDs",
            value=f"{array.dtype} {array.shape}",
            allowed=f"integers [n, {num_levels}]",
        )
    return np.ascontiguousarray(np.clip(array, -1, _INT32_MAX), dtype=np.int32)


def as_ids(ids: NDArray[np.integer] | Sequence[int]) -> NDArray[np.uint32]:
    """Return item ids as uint32 ``[n]``.

    Raises
    ------
    EditError
        They are no whole numbers of 0 to 2^32 - 1.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or not _whole(array) or (array.size and _outside(array)):
        raise EditError("these are no item ids", value=ids, allowed="whole numbers below 2^32 [n]")
    return np.ascontiguousarray(array, dtype=np.uint32)


def as_payloads(payloads: Sequence[bytes] | None, count: int) -> list[bytes]:
    """Return one payload per edit, or an empty list where none has any."""
    if payloads is None:
        return []
    check_same_number("edits and payloads", range(count), payloads)
    return [bytes(payload) for payload in payloads]


def ids_in_leaf_order(
    ids: NDArray[np.integer] | Sequence[int] | None, order: NDArray[np.int64]
) -> NDArray[np.uint32] | None:
    """Return the ids of leaves whose rows are ``order``; None where an id is its leaf's rank.

    Raises
    ------
    EditError
        They are out of range, not unique or not one per row.
    """
    rows = np.arange(len(order), dtype=np.uint32) if ids is None else as_ids(ids)
    check_same_number("Rec-IDs and ids", order, rows)
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise EditError(
            "two items have one id", value=int(values[counts > 1][0]), allowed="unique ids"
        )
    leaf_ids = rows[order]
    return None if np.array_equal(leaf_ids, np.arange(len(order))) else leaf_ids


def check_same_number(names: str, first: Sized, second: Sized) -> None:
    """Raise where two arguments that belong together differ in length."""
    if len(first) != len(second):
        raise EditError(f"{names} differ in number", value=f"{len(first)} and {len(second)}")


def _whole(array: NDArray[np.generic]) -> bool:
    return array.size == 0 or np.issubdtype(array.dtype, np.integer)


def _outside(array: NDArray[np.integer]) -> bool:
    return bool(array.min() < 0 or array.max() > 2**32 - 1)
