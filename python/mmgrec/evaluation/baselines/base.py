"""What every baseline is: settings, a grid of them, and scores of all items for any user."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.sparse import csr_matrix

from mmgrec.data.histories import Histories
from mmgrec_engine.errors import ConfigError

BATCH = 1024

Rows = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]


class Settings(BaseModel):
    """Hyperparameters of a baseline: one point of its grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


class Scorer(Protocol):
    """A fitted method."""

    def rank(self, user_rows: Rows, k: int) -> Rows:
        """Return the k best items ``[n, k]`` of users who have training items, their own left out.

        Best first; -1 where fewer are left.
        """
        ...


class Baseline(Protocol):
    """A method to compare with. It is made from a data set whose test split it does not see.

    ``seeded`` says whether two seeds can give two results; ``axes`` is the grid that is tried on
    validation: values per field of ``settings_type``.
    """

    name: ClassVar[str]
    seeded: ClassVar[bool]
    settings_type: ClassVar[type[Settings]]
    axes: ClassVar[Mapping[str, Sequence[Any]]]

    def fit(self, settings: Any, seed: int) -> Scorer:  # noqa: ANN401 - a `settings_type`
        """Fit one point of the grid to the training interactions."""
        ...


@dataclass(frozen=True)
class MatrixScorer:
    """A scorer from a function that scores all items of a batch of users: ``[n]`` to ``[n, N]``."""

    history: Histories
    score: Callable[[Rows], Scores]

    def rank(self, user_rows: Rows, k: int) -> Rows:
        """Rank by score, ties to the lower row."""
        batches = [user_rows[i : i + BATCH] for i in range(0, len(user_rows), BATCH)]
        parts = [top_items(self.score(rows), self.history, rows, k) for rows in batches]
        return np.concatenate([np.full((0, k), -1, np.int64), *parts])


def grid_of(settings_type: type[S], axes: Mapping[str, Sequence[Any]], name: str) -> list[S]:
    """Return every combination of the axes' values, the first axis slowest.

    Raises
    ------
    ConfigError
        An axis is no field of the settings, is empty, or has a value out of range.
    """
    grid = []
    for values in itertools.product(*axes.values()):
        try:
            grid.append(settings_type(**dict(zip(axes, values, strict=True))))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"grid of {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                value=repr(first["input"]),
                allowed=", ".join(settings_type.model_fields) or "no settings",
            ) from None
    if not grid:
        raise ConfigError(f"grid of {name}: an axis has no values", value=dict(axes))
    return grid


def interaction_matrix(history: Histories, num_items: int) -> csr_matrix:
    """Return the user-item matrix of ones."""
    values = np.ones(len(history.item_rows))
    shape = (history.num_users, num_items)
    return csr_matrix((values, history.item_rows, history.offsets), shape=shape)


def top_items(scores: Scores, history: Histories, rows: Rows, k: int) -> Rows:
    """Return the items with the k highest scores, ties to the lower row: ``[n, k]``.

    The users' own items are left out; -1 where fewer than k are left. ``scores`` ``[n, N]`` is
    overwritten.
    """
    for i, row in enumerate(rows):
        scores[i, history.of(int(row))] = -np.inf
    top = np.full((len(rows), k), -1, np.int64)
    size = scores.shape[1]
    least = np.partition(scores, size - k, axis=1)[:, size - k] if k < size else None
    for i, row_scores in enumerate(scores):
        # Of all that reach the k-th score, so that ties at it are broken by row as well.
        bound = -np.inf if least is None else least[i]
        reach = np.flatnonzero((row_scores >= bound) & (row_scores > -np.inf))
        best = reach[np.argsort(-row_scores[reach], kind="stable")][:k]
        top[i, : len(best)] = best
    return top
