"""Which items have similar features: a symmetric graph over the items."""

from __future__ import annotations

from collections.abc import Mapping

import faiss
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import coalesce

from mmgrec_engine.models.graph_encoder import csr

EXACT_ITEMS = 100_000
"""Items up to which all pairs are compared; above, an HNSW index finds nearly the same."""


def similar_items(
    features: Mapping[str, Tensor], present: Mapping[str, Tensor], neighbours: int
) -> Tensor:
    """Return the CSR matrix ``[N, N]`` of every item's nearest items, symmetrically normalised.

    ::

        z    = columns of every modality standardised, rows scaled to length 1; 0 where absent
        x    = all modalities side by side, scaled to length 1
        S    = cosine of x with the `neighbours` nearest others, negative ones 0
        S    = (S + S^T) / 2, then D^-1/2 S D^-1/2

    Parameters
    ----------
    features, present : mapping
        Modality name to ``[N, width]`` and to ``[N]`` bool.
    neighbours : int
        Of an item, before the matrix is made symmetric.
    """
    parts = [_directions(features[name], present[name]) for name in sorted(features)]
    x = F.normalize(torch.cat(parts, 1), dim=1).contiguous()
    count = len(x)
    index = _index(x)
    cosine, nearest = index.search(x.numpy(), min(neighbours + 1, count))
    rows = torch.arange(count)[:, None].expand(nearest.shape)
    columns, weight = torch.from_numpy(nearest), torch.from_numpy(cosine).clamp_min(0) / 2
    # An item need not be its own nearest (duplicates tie with it); -1 stands for "not found".
    kept = (columns != rows) & (columns >= 0) & (weight > 0)
    one_way = torch.stack([rows[kept], columns[kept]])
    edges = torch.cat([one_way, one_way.flip(0)], dim=1)
    edges, weight = coalesce(edges, torch.cat([weight[kept]] * 2), count)
    edges, weight = gcn_norm(edges, weight, count, add_self_loops=False, dtype=weight.dtype)
    return csr(edges, weight, count)


def _directions(features: Tensor, present: Tensor) -> Tensor:
    x = features.float()
    known = x[present]
    if len(known) < 2:
        return torch.zeros_like(x)
    z = (x - known.mean(0)) / known.std(0).clamp_min(1e-6)
    return torch.where(present[:, None], F.normalize(z, dim=1), 0.0)


def _index(x: Tensor) -> faiss.Index:
    index: faiss.Index = faiss.IndexFlatIP(x.shape[1])
    if len(x) > EXACT_ITEMS:
        index = faiss.IndexHNSWFlat(x.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(x.numpy())
    return index
