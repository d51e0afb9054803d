"""Collision policies: the last token of a Rec-ID tells apart items with equal semantic codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def popularity_tokens(codes: NDArray[np.int32], popularity: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rank the items of every group with equal codes, most popular first (the paper's policy).

    ::

        group items by their S semantic codes
        token = rank inside the group by training count, descending; ties to the lower row

    Parameters
    ----------
    codes : array
        ``[N, S]`` semantic codes.
    popularity : array
        ``[N]`` training interactions of each item.

    Returns
    -------
    array
        ``[N]`` int32 collision tokens; (codes, token) is unique.
    """
    num_items = len(codes)
    group = group_of(codes)
    order = np.lexsort((np.arange(num_items), -popularity, group))
    sorted_group = group[order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
    sizes = np.diff(np.r_[starts, num_items])
    tokens = np.empty(num_items, np.int32)
    tokens[order] = np.arange(num_items) - np.repeat(starts, sizes)
    return tokens


def group_of(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the group of every item ``[N]``: equal tuples share one, numbered in tuple order."""
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
