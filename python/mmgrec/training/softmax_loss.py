"""The softmax over all items, with its gradient made while the scores are in the cache.

Shapes: n users of a batch, N items, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SCORES_AT_ONCE = 1 << 20
"""Scores of a piece of the batch: 4 MB, some of a second-level cache."""


class WeightedLogSumExp(torch.autograd.Function):
    """Sum over users of w_u log sum_i exp(scale u . v_i).

    ::

        for a piece of the users:  S = scale U V^T;  Z = row sums of exp(S - row max)
            value += w . (log Z + row max)
            P = w scale exp(S - row max) / Z;  dU = P V;  dV += P^T U

    Autograd would write and read the scores of all users some ten times; a piece of them never
    leaves the cache, and only the gradients ``[n, D]`` and ``[N, D]`` are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        users: Tensor,
        items: Tensor,
        weight: Tensor,
        scale: float,
    ) -> Tensor:
        """Return the value; users ``[n, D]``, items ``[N, D]``, weight ``[n]``."""
        value = users.new_zeros(())
        of_users, of_items = torch.empty_like(users), torch.zeros_like(items)
        piece = max(1, SCORES_AT_ONCE // max(len(items), 1))
        for begin in range(0, len(users), piece):
            rows = slice(begin, begin + piece)
            u, w = users[rows] * scale, weight[rows]
            scores = u @ items.T
            most = scores.amax(1, keepdim=True)
            total = scores.sub_(most).exp_().sum(1)
            value += (w * (total.log() + most[:, 0])).sum()
            scores *= (w / total)[:, None]
            torch.matmul(scores, items, out=of_users[rows])
            of_items.addmm_(scores.T, u)
        ctx.save_for_backward(of_users.mul_(scale), of_items)
        return value

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of users and items."""
        of_users, of_items = ctx.saved_tensors
        return gradient * of_users, gradient * of_items, None, None


def weighted_log_sum_exp(users: Tensor, items: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Return the sum over users of w_u log sum_i exp(scale u . v_i): see `WeightedLogSumExp`."""
    value: Tensor = WeightedLogSumExp.apply(users, items, weight, scale)  # type: ignore[no-untyped-call]
    return value
