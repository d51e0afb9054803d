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
) -> Difference:
    """Compare two methods on the same users.

    ::

        d_u      = ours_u - other_u;   mean = average of d_u
        m_r      = average of d over n users drawn with replacement, for r = 1..resamples
        interval = 2.5th and 97.5th percentile of m
        p        = (1 + number of r with |m_r - mean| >= |mean|) / (1 + resamples)

    Parameters
    ----------
    ours, other : array
        ``[n]`` a metric per user, in the same order of users.
    resamples : int
        Draws.
    seed : int
        Of the draws.

    Returns
    -------
    Difference
        Zero with p = 1 where the two are equal for every user.

    Notes
    -----
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 and 16.4.
    The resamples of d, shifted to mean zero, stand for what chance does without a difference.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(other, np.float64)
    mean = float(difference.mean())
    rng = np.random.default_rng(seed)
    count = len(difference)
    rows = max(1, BLOCK // count)
    means = np.concatenate(
        [
            difference[rng.integers(0, count, (min(rows, resamples - done), count))].mean(axis=1)
            for done in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    # Sums in another order differ in the last digits; a tie must count as one.
    slack = 1e-12 * max(1.0, float(np.abs(difference).max()))
    extreme = int((np.abs(means - mean) >= abs(mean) - slack).sum())
    return Difference(mean, float(low), float(high), (1 + extreme) / (1 + resamples))
