"""EASE: the item-item ridge regression with a zero diagonal, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import lapack

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines.base import (
    BATCH,
    MatrixScorer,
    Rows,
    Scores,
    Settings,
    interaction_matrix,
)
from mmgrec_engine.errors import DataError

MAX_ITEMS = 20_000
"""Items above which EASE is refused: a dense float64 matrix of this many rows takes 3.2 GB."""


class EaseSettings(Settings):
    """Strength of the ridge."""

    l2: float = Field(gt=0)


class Ease:
    """EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).

    Raises
    ------
    DataError
        More than `MAX_ITEMS` items.
    """

    name: ClassVar[str] = "ease"
    seeded: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = EaseSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {"l2": (10.0, 50.0, 100.0, 250.0, 500.0, 1000.0)}

    def __init__(self, dataset: Dataset) -> None:
        self.check(dataset)
        self.history, self.num_items = dataset.histories(Split.TRAIN), dataset.num_items
        self.users = interaction_matrix(self.history, self.num_items)

    @staticmethod
    def check(dataset: Dataset) -> None:
        """Raise `DataError` where the catalogue is too large for dense matrices."""
        if dataset.num_items > MAX_ITEMS:
            raise DataError(
                "EASE needs a dense matrix of items by items",
                value=f"{dataset.num_items:,} items, {dataset.num_items**2 * 8 / 1e9:.1f} GB",
                allowed=f"up to {MAX_ITEMS:,} items",
                remedy='leave "ease" out of the baselines',
            )

    def fit(self, settings: EaseSettings, seed: int) -> MatrixScorer:
        """Solve for the item-item weights."""
        weights = ease_weights((self.users.T @ self.users).toarray(), settings.l2)
        users = self.users

        def score(rows: Rows) -> Scores:
            return np.asarray(users[rows] @ weights)

        return MatrixScorer(self.history, score)


def ease_weights(gram: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
    """Return the weights B ``[N, N]`` whose products X B are the scores.

    ::

        minimise |X - X B|^2 + l2 |B|^2   with  diag(B) = 0
        P = (X^T X + l2 I)^-1;   B_ij = -P_ij / P_jj,   B_jj = 0

    Parameters
    ----------
    gram : array
        X^T X ``[N, N]``; overwritten.
    l2 : float
        Strength of the ridge, above 0.
    """
    np.fill_diagonal(gram, gram.diagonal() + l2)
    # Positive definite: a Cholesky factor and its inverse take half the work of `inv`.
    # gram.T is gram in the column order that LAPACK overwrites, so one matrix is all there is.
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    weights, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    assert failed == failed_too == 0  # it is positive definite
    for begin in range(0, len(weights), BATCH):
        rows = slice(begin, begin + BATCH)
        corner = np.tril(weights[rows, rows])
        weights[rows, rows] = corner + np.tril(corner, -1).T
        weights[rows, begin + BATCH :] = weights[begin + BATCH :, rows].T
    weights = weights.T  # the same by symmetry, in the row order that scoring reads
    weights /= -weights.diagonal().copy()
    np.fill_diagonal(weights, 0.0)
    result: NDArray[np.float64] = weights
    return result
