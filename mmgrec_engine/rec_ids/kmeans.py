"""Residual k-means: initial codebooks of the RQ-VAE, and the whole of RQ-KMeans."""

from __future__ import annotations

import faiss
import numpy as np
import torch
from torch import Tensor

from mmgrec_engine.ops.rq_assign import rq_assign

SAMPLE_PER_CODE = 256
"""Rows per codeword beyond which more hardly move a centroid (faiss's own bound)."""


def residual_kmeans(
    x: Tensor, levels: int, codebook_size: int, *, seed: int, backend: str = "reference"
) -> Tensor:
    """Fit one codebook per level on the residuals of the levels above.

    ::

        for every level: codebook = k-means(residuals); residual -= nearest codeword

    Parameters
    ----------
    x : Tensor
        ``[N, D]`` float32 rows.
    levels, codebook_size : int
        S and K. With fewer distinct rows than K the surplus codewords repeat a row and stay unused.
    seed : int
        Of the k-means initialisation.
    backend : str
        Of `rq_assign`, for rows on the CPU.

    Returns
    -------
    Tensor
        ``[S, K, D]`` codebooks.
    """
    residual = x.detach().float()
    codebooks = []
    for level in range(levels):
        codebook = _kmeans(residual, codebook_size, seed + level)
        codes = rq_assign(residual, codebook[None], backend=backend).codes[:, 0]
        residual = residual - codebook[codes]
        codebooks.append(codebook)
    return torch.stack(codebooks)


def _kmeans(x: Tensor, codebook_size: int, seed: int) -> Tensor:
    rows = np.ascontiguousarray(x.numpy())
    if len(rows) <= codebook_size:
        return x[torch.arange(codebook_size) % len(x)].clone()
    kmeans = faiss.Kmeans(
        rows.shape[1],
        codebook_size,
        niter=25,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CODE,
    )
    kmeans.train(rows)
    return torch.from_numpy(np.array(kmeans.centroids))
