"""Output head: a hidden vector to logits of one level, optionally with node vectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmgrec_engine.models.config import RecommenderConfig


class Head(nn.Module):
    """Logits of level t.

    ::

        logit[token] = (W_t h + b_t)[token]                               the paper's
                     + q_t . mean item vector below the child             with node vectors
        q_t = Q_t h + P_t h_u

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
        self.query_user = nn.ModuleList(
            nn.Linear(item_width, item_width, bias=False) for _ in levels
        )

    def logits(self, level: int, hidden: Tensor) -> Tensor:
        """Map ``[..., E]`` to the level's columns ``[..., K_t]``."""
        return self.columns[level](hidden)  # type: ignore[no-any-return]

    def node_query(self, level: int, hidden: Tensor, user: Tensor) -> Tensor | None:
        """Map ``[..., E]`` and h_u ``[..., D]`` to the node vectors' query, if they are on."""
        if not self.query_hidden:
            return None
        return self.query_hidden[level](hidden) + self.query_user[level](user)  # type: ignore[no-any-return]
