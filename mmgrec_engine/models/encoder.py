"""Encoder over the set of a user's history items: relation-aware attention, no positions.

Shapes: B users, L history length, H heads, K head width, E model width, D item-vector width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.ops.relation_attention import relation_attention


class RelationGates(nn.Module):
    """The user's three scalars of a layer: a_q, a_k, a_v = MLP_q(h_u), MLP_k(h_u), MLP_v(h_u)."""

    def __init__(self, user_width: int) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(user_width, user_width), nn.ReLU(), nn.Linear(user_width, 1))
            for _ in range(3)
        )

    def forward(self, user: Tensor) -> Tensor:
        """Map user vectors ``[B, D]`` to gates ``[B, 3]``."""
        return torch.cat([mlp(user) for mlp in self.mlps], dim=1)


class EncoderLayer(nn.Module):
    """Relation-aware self-attention, then a feed-forward net; each with residual and LayerNorm."""

    def __init__(self, config: RecommenderConfig, user_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.head_width
        self.backend = "reference"
        inner = config.heads * config.head_width
        self.qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.relation = nn.Linear(config.width, 3 * config.head_width, bias=False)
        self.gates = RelationGates(user_width)
        self.out = nn.Linear(inner, config.width, bias=False)
        self.norm_attention = nn.LayerNorm(config.width)
        self.feed_forward = feed_forward(config)
        self.norm_feed_forward = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BLE: Tensor, user_BD: Tensor, lengths: Tensor) -> Tensor:
        """Return ``[B, L, E]``."""
        q, k, v = split_heads(self.qkv(x_BLE), 3, self.heads)
        uq, uk, uv = self.relation(x_BLE).chunk(3, dim=-1)
        attended = relation_attention(
            q, k, v, uq, uk, uv, self.gates(user_BD), lengths, backend=self.backend
        )
        x_BLE = self.norm_attention(x_BLE + self.dropout(self.out(merge_heads(attended))))
        return self.norm_feed_forward(x_BLE + self.dropout(self.feed_forward(x_BLE)))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Item vectors of a history to encoder memory.

    ::

        x = item vectors (through a linear map where their width is not the model's)
        for every layer: x = layer(x, h_u, lengths)
    """

    def __init__(self, config: RecommenderConfig, item_width: int) -> None:
        super().__init__()
        self.input = (
            nn.Identity() if item_width == config.width else nn.Linear(item_width, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(config, item_width) for _ in range(config.encoder_layers)
        )

    def forward(self, items_BLD: Tensor, user_BD: Tensor, lengths: Tensor) -> Tensor:
        """Return the memory ``[B, L, E]``; rows from ``lengths`` on are padding."""
        x = self.dropout(self.input(items_BLD))
        for layer in self.layers:
            x = layer(x, user_BD, lengths)
        return torch.as_tensor(x)


def feed_forward(config: RecommenderConfig) -> nn.Sequential:
    """Build the position-wise feed-forward net of both stacks."""
    return nn.Sequential(
        nn.Linear(config.width, config.feed_forward),
        nn.ReLU(),
        nn.Linear(config.feed_forward, config.width),
    )


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Cut ``[B, L, parts * H * K]`` into ``parts`` tensors ``[B, H, L, K]``."""
    users, length, inner = x.shape
    x = x.view(users, length, parts, heads, inner // (parts * heads))
    return x.permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(x_BHLK: Tensor) -> Tensor:
    """Join ``[B, H, L, K]`` to ``[B, L, H * K]``."""
    return x_BHLK.transpose(1, 2).flatten(2)
