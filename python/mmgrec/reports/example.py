"""The Rec-ID tree around one item: its path, what branches off, and where its neighbours are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.model_folder import ModelFolder

SIBLINGS = 4
"""Prefixes beside the path that are shown per level: those with most items."""
LEAVES = 6
"""Items of the last branching that are shown."""
NEIGHBOURS = 8
"""Items with the most similar vectors that are shown."""


def example_tree(folder: ModelFolder, item: str | None) -> dict[str, Any]:
    """Return the path of an item through the tree of Rec-IDs, and its nearest neighbours.

    ::

        per level: the item's token, how many items are below it, and its largest siblings
        leaves     = the items that share the item's semantic codes, or else most of them
        neighbours = the items with the most similar vectors; how many first tokens they share

    Parameters
    ----------
    folder : ModelFolder
        A trained run.
    item : str, optional
        External id as typed; by default the most popular item that shares its codes with another.

    Raises
    ------
    RequestError
        No item has this id.
    """
    codes = folder.trie.codes()
    row = _chosen(folder, codes, item)
    path = codes[row]
    levels = [_level(codes, path, level) for level in range(codes.shape[1] - 1)]
    shared = _shared(codes, path)
    leaves = np.flatnonzero(shared == max(_others(shared, row).max(initial=0), 1))
    leaves = np.unique(np.r_[row, leaves[np.argsort(-_popularity(folder)[leaves])][: LEAVES - 1]])
    vectors = folder.weights["item_vectors"]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosine = unit @ unit[row]
    near = [r for r in np.argsort(-cosine, kind="stable") if r != row][:NEIGHBOURS]
    return {
        **_described(folder, codes, row),
        "levels": levels,
        "leaves": [
            {**_described(folder, codes, r), "shared": int(shared[r])}
            for r in leaves[np.argsort(-shared[leaves], kind="stable")]
        ],
        "neighbours": [
            {
                **_described(folder, codes, r),
                "cosine": float(cosine[r]),
                "shared": int(shared[r]),
            }
            for r in near
        ],
    }


def _chosen(folder: ModelFolder, codes: NDArray[np.int32], item: str | None) -> int:
    if item is not None:
        table = IdTable("item", folder.items["item"])
        return int(table.rows([table.parse(item)], "--item")[0])
    same = (codes[1:, :-1] == codes[:-1, :-1]).all(1)
    grouped = np.r_[False, same] | np.r_[same, False]
    popularity = _popularity(folder)
    return int(np.argmax(np.where(grouped, popularity, -1) if grouped.any() else popularity))


def _popularity(folder: ModelFolder) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = folder.items["popularity"].to_numpy().astype(np.int64)
    return counts


def _shared(codes: NDArray[np.int32], path: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return how many first tokens every item has in common with a path ``[N]``."""
    shared: NDArray[np.int64] = (codes == path).cumprod(1).sum(1)
    return shared


def _others(values: NDArray[np.int64], row: int) -> NDArray[np.int64]:
    return np.delete(values, row)


def _level(codes: NDArray[np.int32], path: NDArray[np.int32], level: int) -> dict[str, Any]:
    below = (codes[:, :level] == path[:level]).all(1)
    tokens, counts = np.unique(codes[below, level], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    beside = [i for i in order if tokens[i] != path[level]]
    return {
        "level": level,
        "token": int(path[level]),
        "items": int(counts[tokens == path[level]][0]),
        "siblings": [{"token": int(tokens[i]), "items": int(counts[i])} for i in beside[:SIBLINGS]],
        "more_siblings": max(len(beside) - SIBLINGS, 0),
    }


def _described(folder: ModelFolder, codes: NDArray[np.int32], row: int) -> dict[str, Any]:
    items: pl.DataFrame = folder.items
    title = items["title"][int(row)] if "title" in items.columns else None
    return {
        "item": items["item"][int(row)],
        "title": None if title is None else str(title),
        "rec_id": codes[row].tolist(),
        "training_interactions": int(items["popularity"][int(row)]),
    }
