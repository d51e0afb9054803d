"""Output head: a hidden vector to logits of one level, optionally with node vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmgrec_engine.models.config import RecommenderConfig

DENSE_SCALE = 5.0
"""Inverse of the temperature that the graph encoder's cosine softmax is trained with."""


class Head(nn.Module):
    """Logits of level t.

    ::

        logit[token] = (W_t h + b_t)[token]                               the paper's
                     + q_t . mean item vector below the child             with node vectors
        q_t = Q_t h + P_t h_u                                 P_t starts as 5 times the identity

    With h_u near the mean of the history's item vectors, that start is a dense recommender over
    unit vectors with temperature 1/5, which the rest of the model then corrects.

    Parameters
    ----------
    config : RecommenderConfig
        Shape.
    level_sizes : sequence of int
        K_t columns per level.
    item_width : int
        Width D of item vectors and of h_u.
    """

    def __init__(
        self, config: RecommenderConfig, level_sizes: Sequence[int], item_width: int
    ) -> None:
        super().__init__()
        self.columns = nn.ModuleList(nn.Linear(config.width, size) for size in level_sizes)
        levels = level_sizes if config.node_vectors else []
        self.query_hidden = nn.ModuleList(
            nn.Linear(config.width, item_width, bias=False) for _ in levels
        )
        self.query_user = nn.ModuleList(_scaled_identity(item_width) for _ in levels)

    def logits(self, level: int, hidden: Tensor) -> Tensor:
        """Map ``[..., E]`` to the level's columns ``[..., K_t]``."""
        return self.columns[level](hidden)  # type: ignore[no-any-return]

    def node_query(self, level: int, hidden: Tensor, user: Tensor) -> Tensor | None:
        """Map ``[..., E]`` and h_u ``[..., D]`` to the node vectors' query, if they are on."""
        if not self.query_hidden:
            return None
        return self.query_hidden[level](hidden) + self.query_user[level](user)  # type: ignore[no-any-return]


def _scaled_identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    with torch.no_grad():
        nn.init.eye_(layer.weight).mul_(DENSE_SCALE)
    return layer
