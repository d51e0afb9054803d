"""Codes for a whole catalogue, part by part, so that a million items show progress."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmgrec_engine.ops.rq_assign import Assignment, rq_assign

PART_ROWS = 65_536
"""Items per part: large enough that nothing is lost between parts, small enough to watch."""


@torch.no_grad()
def assign_catalogue(
    vectors: Tensor,
    codebooks: Tensor,
    *,
    encode: Callable[[Tensor], Tensor],
    backend: str,
    advance: Callable[[int], object] = lambda _: None,
) -> Assignment:
    """Quantise every item of a catalogue.

    ::

        for parts of 65,536 items: rq_assign(encode(part)); tell `advance` how many are done

    Parameters
    ----------
    vectors : Tensor
        ``[N, D]`` item vectors.
    codebooks : Tensor
        ``[S, K, latent]``.
    encode : callable
        From item vectors to what the codebooks quantise (the RQ-VAE's encoder).
    backend : str
        Of `rq_assign`.
    advance : callable
        Gets the number of items of each finished part.

    Returns
    -------
    Assignment
        Of all items, ``top2`` included.
    """
    parts = []
    for part in torch.split(vectors, PART_ROWS):
        parts.append(rq_assign(encode(part), codebooks, top2=True, backend=backend))
        advance(len(part))
    codes, norms, top2 = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Assignment(codes, norms, top2)
