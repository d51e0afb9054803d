"""How the Rec-IDs use their codes, and which items share them.

Shapes: N items, T token levels, the last of which is the collision token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.rec_ids.collisions import group_of

Codes = NDArray[np.int32]


def code_usage(rec_ids: Codes, level_sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return, per semantic level, how many items every code has, most first, and a summary.

    ``perplexity`` is exp(entropy): how many codes would be as informative if all had the same
    number of items.
    """
    levels = []
    for level, size in enumerate(level_sizes[:-1]):
        counts = np.sort(np.bincount(rec_ids[:, level], minlength=size))[::-1]
        share = counts[counts > 0] / max(counts.sum(), 1)
        levels.append(
            {
                "level": level,
                "codes": size,
                "perplexity": float(np.exp(-(share * np.log(share)).sum())),
                "dead_codes": int((counts == 0).sum()),
                "items_per_code": counts.tolist(),
            }
        )
    return levels


def collision_groups(rec_ids: Codes) -> dict[str, Any]:
    """Return how many groups of items with equal semantic codes there are, by size.

    ``alone_share``: items that share their codes with no other, so that the model tells them apart
    by meaning alone.
    """
    sizes = np.bincount(group_of(rec_ids[:, :-1]))
    groups = np.bincount(sizes)
    return {
        "groups_by_size": {str(size): int(n) for size, n in enumerate(groups) if n},
        "alone_share": float((sizes == 1).sum() / len(rec_ids)),
        "largest": int(sizes.max()),
    }
