"""Vectors of users and items: fused modalities and free embeddings, propagated over the graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor

from mmgrec_engine.models.config import GraphEncoderConfig
from mmgrec_engine.models.fusion import Fusion

NEIGHBOUR_SHARE = 0.5
"""Weight of the items with similar features beside an item's own vector."""


class Graph:
    """The symmetric user-item graph as sparse matrices, users first, items after them.

    Parameters
    ----------
    user_rows, item_rows : Tensor
        ``[E]`` int64, one entry per training interaction.
    num_users, num_items : int
        Sizes.
    normalise : bool
        Symmetric normalisation 1/sqrt(d_u d_i) (LightGCN); without it, ones (GraphSAGE's mean).
    """

    def __init__(
        self,
        user_rows: Tensor,
        item_rows: Tensor,
        num_users: int,
        num_items: int,
        *,
        normalise: bool,
    ) -> None:
        self.num_nodes = num_users + num_items
        self.normalise = normalise
        self.edges = torch.stack([user_rows, item_rows + num_users])

    def adjacency(self, keep: Tensor | None = None) -> Tensor:
        """Return the CSR adjacency, of the kept edges only where a mask ``[E]`` is given."""
        edges = self.edges if keep is None else self.edges[:, keep]
        both = torch.cat([edges, edges.flip(0)], dim=1)
        weight = torch.ones(both.shape[1])
        if self.normalise:
            both, weight = gcn_norm(
                both, weight, self.num_nodes, add_self_loops=False, dtype=weight.dtype
            )
        return csr(both, weight, self.num_nodes)


def symmetric_product(matrix: Tensor, x: Tensor) -> Tensor:
    """Return ``matrix @ x`` of a symmetric sparse matrix.

    Its gradient is ``matrix @ gradient``; torch, which cannot know that, would transpose the matrix
    in every backward pass, which takes longer than the products.
    """
    product: Tensor = _SymmetricProduct.apply(matrix, x)  # type: ignore[no-untyped-call]
    return product


class _SymmetricProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, x: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.matrix = matrix
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # noqa: ANN401
        return None, ctx.matrix @ gradient


class GraphEncoder(nn.Module):
    """User and item vectors from features, free embeddings and the interaction graph.

    ::

        item_0 = [fuse(modalities) ; free item embedding]       user_0 = free user embedding
        item_0 = item_0 + S item_0 / 2                          S: items with similar features
        lightgcn:   h = mean of layers 0..n of (A^n h_0)
        graphsage:  h = SAGE_n(relu(... SAGE_1(h_0)))           the official code's convolution

    Parameters
    ----------
    config : GraphEncoderConfig
        Shape.
    num_users, num_items : int
        Sizes of the catalogue and the user base.
    modality_widths : mapping
        Modality name to feature width; may be empty (then every item's width is free).
    """

    def __init__(
        self,
        config: GraphEncoderConfig,
        num_users: int,
        num_items: int,
        modality_widths: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.config = config
        self.num_users = num_users
        free = round(config.width * config.free_share) if modality_widths else config.width
        self.fusion = Fusion(modality_widths, config.width - free) if free < config.width else None
        self.user_free = nn.Parameter(torch.randn(num_users, config.width) * 0.1)
        self.item_free = nn.Parameter(torch.randn(num_items, free) * 0.1)
        convolutions = 0 if config.propagation == "lightgcn" else config.layers
        self.convolutions = nn.ModuleList(
            SAGEConv(config.width, config.width) for _ in range(convolutions)
        )

    def forward(
        self,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        adjacency: Tensor,
        similar: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return user vectors ``[U, D]`` and item vectors ``[N, D]``.

        Parameters
        ----------
        features, present : mapping
            Modality name to ``[N, width]`` and to ``[N]`` bool.
        adjacency : Tensor
            Of a `Graph`.
        similar : Tensor, optional
            S ``[N, N]``, symmetric: items with similar features.
        """
        items = self._items(features, present, self.item_free)
        if similar is not None:
            items = items + NEIGHBOUR_SHARE * symmetric_product(similar, items)
        h = self._propagate(torch.cat([self.user_free, items]), adjacency)
        return h[: self.num_users], h[self.num_users :]

    def _items(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], free: Tensor
    ) -> Tensor:
        if self.fusion is None:
            return free
        return torch.cat([self.fusion(features, present), free], dim=1)

    def _propagate(self, h: Tensor, adjacency: Tensor) -> Tensor:
        if self.config.propagation == "lightgcn":
            total = h
            for _ in range(self.config.layers):
                h = symmetric_product(adjacency, h)
                total = total + h
            return total / (self.config.layers + 1)
        for i, convolution in enumerate(self.convolutions):
            h = convolution(torch.relu(h) if i else h, adjacency)
        return h


def csr(edges: Tensor, weight: Tensor, num_nodes: int) -> Tensor:
    """Return the square CSR matrix of edges ``[2, E]`` and their weights ``[E]``."""
    with warnings.catch_warnings():
        # torch calls its CSR tensors beta; the products used here are tested against dense ones.
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        adjacency: Tensor = to_torch_csr_tensor(edges, weight, size=(num_nodes, num_nodes))
    return adjacency
