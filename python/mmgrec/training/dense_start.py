"""A recommender that ranks as the graph encoder does before it has learned anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgrec.data.histories import Histories
from mmgrec_engine.models.recommender import Recommender

SOFTNESS = (1.0, 0.6, 0.4)
"""Shares of the encoder's inverse temperature that are tried."""
DECAYS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Weights of an item beside the next newer one that are tried, one after the other."""
DECAY_GAIN = 1.01
"""How much better a decay has to rank than none: of many tried one is a little better by chance."""
MOST_ITEMS = 50
"""Items up to which a user counts in proportion; longer histories would drown all others."""


@torch.no_grad()
def start_dense(model: Recommender, history: Histories, user_vectors: Tensor, scale: float) -> None:
    """Set the first weights of a model with node vectors.

    ::

        h_u        = U . mean of the history's item vectors + b: least squares onto the graph
                     encoder's user vectors, a user weighing as many as its items
        P_t        = scale . identity
        W_t, b_t, Q_t = 0

    Then a child's logit is what its items' dense scores add up to, to first order:
    log sum exp(scale h_u . v) over the items below >= log n + scale h_u . mean v, and a leaf's is
    exact. Training starts from the encoder's ranking and learns what a set of items and a prefix
    tell beyond it.

    Parameters
    ----------
    model : Recommender
        On the CPU.
    history : Histories
        Training items, as leaf ranks.
    user_vectors : Tensor
        ``[U, D]`` of the graph encoder.
    scale : float
        Inverse temperature of its loss.
    """
    weight, bias = user_map(model.item_vectors, history, user_vectors)
    model.user_map.weight.copy_(weight)
    model.user_map.bias.copy_(bias)
    for columns in model.head.columns:
        nn.init.zeros_(columns.weight)  # type: ignore[arg-type]
        nn.init.zeros_(columns.bias)  # type: ignore[arg-type]
    for query in model.head.query_hidden:
        nn.init.zeros_(query.weight)  # type: ignore[arg-type]
    for query in model.head.query_user:
        nn.init.eye_(query.weight).mul_(scale)  # type: ignore[arg-type]


@torch.no_grad()
def choose_decay(model: Recommender, validate: Callable[[Recommender], float | None]) -> float:
    """Let older items of a history weigh less in h_u, as far as validation ranks better.

    The map of the history stays what it is: it was fitted to vectors of users as they are on the
    whole, which say what they like; the mean that it is given moves to what they like now. Smaller
    decays are tried as long as they rank better.

    Parameters
    ----------
    model : Recommender
        On the CPU, as `start_dense` has set it.
    validate : callable
        The score of a model; None where nothing can be chosen.

    Returns
    -------
    float
        The decay; 1 for none.
    """
    score = validate(model)
    if score is None:
        return 1.0
    least = score * DECAY_GAIN
    best = 1.0
    for decay in DECAYS:
        model.history_decay.fill_(decay)
        found = validate(model)
        assert found is not None
        if found <= score:
            break
        score = found
        best = decay if found >= least else best
    model.history_decay.fill_(best)
    return best


@torch.no_grad()
def soften_start(model: Recommender, validate: Callable[[Recommender], float | None]) -> float:
    """Scale P_t of a model that `start_dense` has set by whatever share ranks best.

    A node's logit leaves out how much its items differ: log sum exp is log n + mean + variance / 2
    + ... of q . v, and the variance is of second order in the length of q. A softer q ranks items
    alike and makes these terms matter less, until beams no longer find the best prefixes.

    Parameters
    ----------
    model : Recommender
        On the CPU.
    validate : callable
        The score of a model; None where nothing can be chosen.

    Returns
    -------
    float
        The share.
    """
    weights = _user_queries(model)
    best: tuple[float, float] | None = None
    tried = 1.0
    for share in SOFTNESS:
        _scale(weights, share / tried)
        tried = share
        score = validate(model)
        if score is not None and (best is None or score > best[0]):
            best = score, share
    chosen = best[1] if best else 1.0
    _scale(weights, chosen / tried)
    return chosen


@torch.no_grad()
def set_start(model: Recommender, decay: float, softness: float) -> None:
    """Give a model that `start_dense` has set a decay and a share that were chosen before."""
    model.history_decay.fill_(decay)
    _scale(_user_queries(model), softness)


def _user_queries(model: Recommender) -> list[Any]:
    return [query.weight for query in model.head.query_user]


def _scale(weights: Sequence[Any], factor: float) -> None:
    for weight in weights:
        weight.mul_(factor)


def user_map(
    item_vectors: Tensor, history: Histories, user_vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return U ``[D, D]`` and b ``[D]`` from means of item vectors to user vectors."""
    lengths = torch.from_numpy(history.lengths)
    means = history_means(item_vectors, history)
    known = lengths > 0
    count = lengths[known, None].double()
    ones = torch.ones(len(count), 1, dtype=torch.float64)
    inputs = torch.cat([means[known], ones], 1)
    weight = count.clamp_max(MOST_ITEMS)
    ridge = 1e-2 * torch.eye(inputs.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(
        inputs.T @ (weight * inputs) + ridge, inputs.T @ (weight * user_vectors[known].double())
    ).float()
    return solved[:-1].T, solved[-1]


def history_means(item_vectors: Tensor, history: Histories) -> Tensor:
    """Return the means of item vectors per user ``[U, D]``, in double; 0 for no items."""
    lengths = torch.from_numpy(history.lengths)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    items = torch.from_numpy(history.item_rows.astype(np.int64))
    sums = torch.zeros(len(lengths), item_vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, owner, item_vectors[items].double())
    return sums / lengths.clamp_min(1)[:, None]
