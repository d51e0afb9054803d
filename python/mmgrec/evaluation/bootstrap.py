"""Paired bootstrap over users: could the choice of users alone make such a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**22
"""Users drawn at a time, to bound memory."""


@dataclass(frozen=True)
class Difference:
    """Mean difference, its 95 % interval, and the two-sided p-value of "there is none"."""

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    ours: NDArray[Any], other: NDArray[Any], *, resamples: int, seed: int = 0
) -> list[Difference]:
    """Compare two methods on the same users, metric by metric.

    ::

        d_u      = ours_u - other_u;   mean = average of d_u
        m_r      = average of d over n users drawn with replacement, for r = 1..resamples
        interval = 2.5th and 97.5th percentile of m
        p        = (1 + number of r with |m_r - mean| >= |mean|) / (1 + resamples)

    Parameters
    ----------
    ours, other : array
        ``[n, c]`` metrics per user, in the same order of users.
    resamples : int
        Draws; the same ones for all columns.
    seed : int
        Of the draws.

    Returns
    -------
    list
        A `Difference` per column; zero with p = 1 where the two are equal for every user.

    Notes
    -----
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 and 16.4.
    The resamples of d, shifted to mean zero, stand for what chance does without a difference.
    """
    differences = np.asarray(ours, np.float64) - np.asarray(other, np.float64)
    means = _resampled_means(differences, resamples, np.random.default_rng(seed))
    return [
        _difference(column, drawn) for column, drawn in zip(differences.T, means.T, strict=True)
    ]


def _resampled_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the column means ``[resamples, c]`` of rows drawn with replacement."""
    count = len(values)
    block = max(1, BLOCK // count)
    parts = []
    for done in range(0, resamples, block):
        size = min(block, resamples - done)
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(times @ values / count)
    return np.concatenate(parts)


def _difference(values: NDArray[np.float64], means: NDArray[np.float64]) -> Difference:
    mean = float(values.mean())
    low, high = np.percentile(means, [2.5, 97.5])
    # Sums in another order differ in the last digits; a tie must count as one.
    slack = 1e-12 * max(1.0, float(np.abs(values).max()))
    extreme = int((np.abs(means - mean) >= abs(mean) - slack).sum())
    return Difference(mean, float(low), float(high), (1 + extreme) / (1 + len(means)))
