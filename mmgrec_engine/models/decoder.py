"""Decoder over the tokens of a Rec-ID.

Shapes: B users, M beams (or targets) of a user, T token levels, E model width, H heads, K head
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.encoder import feed_forward, merge_heads, split_heads
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams


@dataclass(frozen=True)
class Memory:
    """What a user's history leaves behind for the decoder, computed once per user.

    ``keys_values``: per decoder layer the pair K, V ``[B, H, L, K]``. ``lengths`` ``[B]``.
    ``user`` ``[B, D]``: h_u.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    lengths: Tensor
    user: Tensor

    def of_users(self, rows: Tensor) -> Memory:
        """Return the memory of some users, ``rows`` ``[b]``, possibly repeated."""
        return Memory(
            tuple((k[rows], v[rows]) for k, v in self.keys_values),
            self.lengths[rows],
            self.user[rows],
        )


class DecoderLayer(nn.Module):
    """Causal self-attention over the prefix, cross-attention on the memory, feed-forward net."""

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_width
        self.self_qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.self_out = nn.Linear(inner, config.width, bias=False)
        self.norm_self = nn.LayerNorm(config.width)
        self.cross_q = nn.Linear(config.width, inner, bias=False)
        self.cross_kv = nn.Linear(config.width, 2 * inner, bias=False)
        self.cross_out = nn.Linear(inner, config.width, bias=False)
        self.norm_cross = nn.LayerNorm(config.width)
        self.feed_forward = feed_forward(config)
        self.norm_feed_forward = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def keys_values(self, memory_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Project the memory once per user."""
        k, v = split_heads(self.cross_kv(memory_BLE), 2, self.heads)
        return k, v

    def forward(
        self, x_BMTE: Tensor, keys_values: tuple[Tensor, Tensor], lengths: Tensor
    ) -> Tensor:
        """Return ``[B, M, T, E]``; position t sees positions <= t of its own beam."""
        users, beams, tokens, width = x_BMTE.shape
        x = x_BMTE.reshape(users * beams, tokens, width)
        q, k, v = split_heads(self.self_qkv(x), 3, self.heads)
        attended = merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = self.norm_self(x + self.dropout(self.self_out(attended)))
        # All positions of all beams of a user are queries of one product with that user's memory.
        x = x.view(users, beams * tokens, width)
        (q,) = split_heads(self.cross_q(x), 1, self.heads)
        attended = merge_heads(cross_attention_beams(q, *keys_values, lengths))
        x = self.norm_cross(x + self.dropout(self.cross_out(attended)))
        x = self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))
        return torch.as_tensor(x).view(users, beams, tokens, width)


class Decoder(nn.Module):
    """Prefixes of Rec-IDs to one hidden vector per position.

    ::

        x_0 = a learned start vector;  x_t = embedding of level t-1 [token t-1]
        every level has its own embedding, which carries the position as well

    Parameters
    ----------
    config : RecommenderConfig
        Shape.
    level_sizes : sequence of int
        K_t columns per level, T of them.
    """

    def __init__(self, config: RecommenderConfig, level_sizes: Sequence[int]) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(config.width) * 0.1)
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, config.width) for size in level_sizes[:-1]
        )
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.1)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))

    def memory(self, encoded_BLE: Tensor, lengths: Tensor, user_BD: Tensor) -> Memory:
        """Project the encoder's output for all layers."""
        return Memory(
            tuple(layer.keys_values(encoded_BLE) for layer in self.layers),  # type: ignore[operator]
            lengths,
            user_BD,
        )

    def forward(self, prefix_BMt: Tensor, memory: Memory) -> Tensor:
        """Return hidden vectors ``[B, M, t + 1, E]`` of prefixes of t tokens."""
        users, beams, length = prefix_BMt.shape
        parts = [self.start.expand(users, beams, -1)]
        parts += [self.embeddings[i](prefix_BMt[:, :, i]) for i in range(length)]
        x = self.dropout(torch.stack(parts, dim=2))
        for layer, keys_values in zip(self.layers, memory.keys_values, strict=True):
            x = layer(x, keys_values, memory.lengths)
        return torch.as_tensor(x)
