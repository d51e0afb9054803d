"""The item-item ridge regression as one more member of the ensemble of graph encoders.

Shapes: U users, N items, D width of the vectors, R rank kept of the regression's scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from mmgrec.data.histories import Histories, spread
from mmgrec.evaluation.baselines.base import interaction_matrix
from mmgrec.evaluation.baselines.ease import MAX_ITEMS, ease_weights
from mmgrec.training.dense_start import SOFTNESS, history_means, user_map
from mmgrec.training.ensemble import join_members, truncated
from mmgrec.training.start_ranking import start_log_probs
from mmgrec.training.validation import dense_ndcg, ranked_ndcg

STRENGTHS = (50.0, 250.0)
SHARES = (0.1, 0.2, 0.4, 0.8)
"""Standard deviations of the regression's scores that are added to one of the encoders'."""
CANDIDATES = len(STRENGTHS) * len(SHARES)
RIDGE_GAIN = 1.01
"""How much better a blend has to rank than none: of many tried one is a little better by chance."""
TREE_USERS = 2048
WIDER_GAIN = 1.02
RANK = 256
PASSES = 2


@dataclass(frozen=True)
class RidgeChoice:
    """What validation chose: ``strength`` and ``share`` are 0 where the encoders alone were best.

    ``alone``, ``chosen``: what `Judge` says without and with it; 0 where it was not asked.
    """

    strength: float
    share: float
    alone: float
    chosen: float


@dataclass(frozen=True)
class Judge:
    """How well vectors rank validation items.

    ::

        mean of the NDCG@20 of  users items^T
                            and the untrained recommender: mapped histories, through a tree of codes

    ``codes_of``: vectors to semantic tokens ``[N, L]``; ``scale``: inverse temperature.
    """

    history: Histories
    relevant: Histories
    codes_of: Callable[[Tensor], NDArray[np.integer]]
    scale: float

    def can_judge(self, num_items: int) -> bool:
        """Say whether there is anything to judge by, at a bearable price."""
        return bool(self.relevant.lengths.any()) and num_items <= MAX_ITEMS

    def __call__(self, users: Tensor, items: Tensor) -> float:
        """Return the score; there have to be validation items."""
        dense = dense_ndcg(users, items, self.history, self.relevant)
        assert dense is not None
        weight, bias = user_map(items, self.history, users)
        mapped = history_means(items, self.history).float() @ weight.T + bias
        rows = spread(np.flatnonzero(self.relevant.lengths), TREE_USERS)
        queries = self.scale * mapped[torch.from_numpy(rows)]
        codes = self.codes_of(items)
        softened = (start_log_probs(queries * s, items, codes) for s in SOFTNESS)
        tree = max(ranked_ndcg(x, self.history, self.relevant, rows) for x in softened)
        return (dense + tree) / 2


@torch.no_grad()
def join_as_wide(
    users: Sequence[Tensor], items: Sequence[Tensor], widest: int, judge: Judge
) -> tuple[Tensor, Tensor, float | None]:
    """Join encoders' vectors at their width, or wider ones where these rank clearly better.

    ::

        width = that of the members;  twice as wide, up to `widest`, while the score grows by 2 %

    Of a large catalogue with few interactions per item members agree about more directions than
    they have themselves. Every request pays for the width, hence the 2 %.

    Parameters
    ----------
    users, items : sequences of Tensor
        ``[U, D]`` and ``[N, D]`` of each member.
    widest : int
        Up to which width.
    judge : Judge
        Of vectors. Without validation items, or with more items than the ridge regression takes,
        the width stays D.

    Returns
    -------
    users, items, score
        And what the judge says of them; None where it was not asked.
    """
    joint = join_members(users, items)
    width = 2 * items[0].shape[1]
    if width > widest or len(items) == 1 or not judge.can_judge(len(items[0])):
        return *joint, None
    score = judge(*joint)
    while width <= widest:
        wider = join_members(users, items, width)
        found = judge(*wider)
        if found < score * WIDER_GAIN:
            break
        joint, score, width = wider, found, 2 * width
    return *joint, score


@torch.no_grad()
def join_item_ridge(
    users: Tensor,
    items: Tensor,
    judge: Judge,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
    *,
    score: float | None = None,
) -> tuple[Tensor, Tensor, RidgeChoice]:
    """Blend the scores of an item-item ridge regression (EASE) into vectors.

    ::

        B    = argmin |X - X B|^2 + strength |B|^2,  diag B = 0     X: training interactions
        E    = X B, a user's row divided by the root of the number of items ~ P Q^T   rank R
        S    = U V^T + share std(U V^T) / std(E) P Q^T ~ users items^T    truncated SVD, width D
        strength and share: whatever ranks validation items best, by at least 1 %; share 0 leaves
        the vectors alone; larger shares are tried as long as they are no worse than the one before

    The regression's weights are squeezed through no dimension and never see an item explain itself;
    graph encoders generalise. Their mistakes differ. Undivided, users with many items would be
    ranked by the regression alone, and no map of a history's mean could tell how many they are.

    Parameters
    ----------
    users, items : Tensor
        A row of width D per user, a row per item.
    judge : Judge
        Of vectors. Without validation items nothing can be chosen, and the vectors stay.
    seed : int
        Of the randomised SVD.
    advance : callable
        Told after every candidate.
    score : float, optional
        What the judge has said of the vectors already.

    Returns
    -------
    users, items, choice

    Notes
    -----
    A dense matrix of items by items is needed: up to 20,000 items. Larger catalogues keep the
    encoders' vectors.
    """
    if not judge.can_judge(len(items)):
        return users, items, RidgeChoice(0.0, 0.0, 0.0, 0.0)
    best, score = (users, items), judge(users, items) if score is None else score
    choice, least = RidgeChoice(0.0, 0.0, score, score), score * RIDGE_GAIN
    counts = _Counts.of(judge.history, len(items))
    for strength in STRENGTHS:
        regression = counts.regression(users, items, strength, seed)
        before = choice.alone
        for tried, share in enumerate(SHARES):
            blend = regression.into(users, items, share)
            score = judge(*blend)
            advance(1)
            if score > choice.chosen and score >= least:
                best, choice = blend, RidgeChoice(strength, share, choice.alone, score)
            if score < before:
                advance(len(SHARES) - tried - 1)
                break
            before = score
    return *best, choice


@torch.no_grad()
def blend_item_ridge(
    users: Tensor, items: Tensor, history: Histories, strength: float, share: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Blend as `join_item_ridge` does, with a strength and a share that were chosen before."""
    if share == 0:
        return users, items
    regression = _Counts.of(history, len(items)).regression(users, items, strength, seed)
    return regression.into(users, items, share)


@dataclass(frozen=True)
class _Regression:
    """``left`` ``[U, R]`` P and ``right`` ``[N, R]`` Q; ``scale``: to the spread of vectors."""

    left: Tensor
    right: Tensor
    scale: float

    def into(self, users: Tensor, items: Tensor, share: float) -> tuple[Tensor, Tensor]:
        left = self.left * (share * self.scale)
        return truncated([users, left], [items, self.right], items.shape[1])


@dataclass(frozen=True)
class _Counts:
    """What all regressions of a training set are made of; ``gram``: X^T X."""

    interactions: csr_matrix
    gram: csr_matrix
    lengths: Tensor

    @classmethod
    def of(cls, history: Histories, num_items: int) -> _Counts:
        interactions = interaction_matrix(history, num_items).astype(np.float32)
        return cls(interactions, interactions.T @ interactions, torch.from_numpy(history.lengths))

    def regression(self, users: Tensor, items: Tensor, strength: float, seed: int) -> _Regression:
        weights = ease_weights(self.gram.toarray().astype(np.float64), strength)
        left, right = _low_rank(self.interactions, weights, seed)
        left /= self.lengths.clamp_min(1).sqrt()[:, None]
        return _Regression(left, right, _spread(users, items) / _spread(left, right))


def _low_rank(interactions: csr_matrix, weights: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Return P ``[U, R]``, Q ``[N, R]``: X B by randomised subspace iteration (Halko et al.)."""
    b = weights.astype(np.float32)
    rank = min(RANK, *interactions.shape)
    basis = np.random.default_rng(seed).standard_normal((b.shape[1], rank), np.float32)
    for _ in range(PASSES):
        tall = np.linalg.qr(interactions @ (b @ basis))[0]
        basis = np.linalg.qr(b.T @ (interactions.T @ tall))[0]
    tall = np.linalg.qr(interactions @ (b @ basis))[0]
    wide = b.T @ (interactions.T @ tall)
    return torch.from_numpy(tall), torch.from_numpy(wide)


def _spread(users: Tensor, items: Tensor) -> float:
    """Return the standard deviation over all pairs of users items^T, which is never made."""
    mean = users.double().mean(0) @ items.double().mean(0)
    square = ((users.double().T @ users.double()) * (items.double().T @ items.double())).sum()
    variance = square / (len(users) * len(items)) - mean**2
    return float(variance.clamp_min(1e-12).sqrt())
