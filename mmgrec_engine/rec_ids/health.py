"""How well a set of Rec-IDs uses its codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from mmgrec_engine.rec_ids.collisions import group_of

UNDECIDED = 1.1
"""Ratio of squared distances below which an item lies between two codewords."""


class LevelHealth(BaseModel):
    """Use of one codebook.

    ``perplexity``: exp(entropy of the code distribution). ``undecided_share``: items whose second
    nearest codeword is less than a tenth farther (in squared distance) than the nearest: a little
    noise in their features would change the token. None in reports of older versions.
    """

    level: int
    codebook_size: int
    perplexity: float
    dead_codes: int
    undecided_share: float | None = None


class RecIdHealth(BaseModel):
    """Use of all codebooks, collisions before the last token, and reconstruction.

    ``unique_share`` is distinct code tuples / items; ``reconstruction_error`` is the squared error
    of the rebuilt item vectors as a share of their variance (0 perfect, 1 no better than the mean).
    """

    num_items: int
    levels: list[LevelHealth]
    unique_share: float
    largest_group: int
    reconstruction_error: float


def rec_id_health(
    codes: NDArray[np.int32],
    codebook_size: int,
    vectors: NDArray[np.float32],
    rebuilt: NDArray[np.float32],
    top2: NDArray[np.float32],
) -> RecIdHealth:
    """Report on semantic codes ``[N, S]`` and the vectors ``[N, D]`` they stand for.

    ``top2`` ``[N, S, 2]``: squared distances of the two nearest codewords.
    """
    groups = np.bincount(group_of(codes))
    variance = float(((vectors - vectors.mean(0)) ** 2).sum())
    error = float(((vectors - rebuilt) ** 2).sum())
    return RecIdHealth(
        num_items=len(codes),
        levels=[
            _level(level, codes[:, level], codebook_size, top2[:, level])
            for level in range(codes.shape[1])
        ],
        unique_share=len(groups) / len(codes),
        largest_group=int(groups.max()),
        reconstruction_error=error / variance if variance > 0 else 0.0,
    )


def _level(
    level: int, codes: NDArray[np.int32], codebook_size: int, top2: NDArray[np.float32]
) -> LevelHealth:
    counts = np.bincount(codes, minlength=codebook_size)
    share = counts[counts > 0] / len(codes)
    return LevelHealth(
        level=level,
        codebook_size=codebook_size,
        perplexity=float(np.exp(-(share * np.log(share)).sum())),
        dead_codes=int((counts == 0).sum()),
        undecided_share=float((top2[:, 1] < UNDECIDED * top2[:, 0]).mean()),
    )
