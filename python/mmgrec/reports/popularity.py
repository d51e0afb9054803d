"""Do rare items get a chance: recall by how often an item was seen in training, and exposure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmgrec.evaluation.baselines import Rows
from mmgrec.reports.lists import AT, Audience, exposure, gini

BUCKETS = ((0, 0), (1, 4), (5, 19), (20, 99), (100, None))
"""Training interactions of an item, from and to."""
GROUPS = 10


def recall_by_training_count(audience: Audience, tops: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """Return, per bucket of training counts, the share of held-out interactions that are found.

    ::

        for the held-out interactions (u, i) with i in the bucket:
        recall = share of them with i among u's first 20

    Buckets without held-out interactions are left out.
    """
    n = audience.num_items
    wanted = np.concatenate([u * n + audience.relevant.of(int(u)) for u in audience.rows])
    count = audience.counts[wanted % n]
    shown = {method: np.isin(wanted, _pairs(audience, top)) for method, top in tops.items()}
    buckets = []
    for low, high in BUCKETS:
        inside = (count >= low) & (count <= (np.inf if high is None else high))
        if inside.any():
            upper = audience.counts <= (np.inf if high is None else high)
            buckets.append(
                {
                    "from": low,
                    "to": high,
                    "items": int((upper & (audience.counts >= low)).sum()),
                    "interactions": int(inside.sum()),
                    "recall@20": {m: float(found[inside].mean()) for m, found in shown.items()},
                }
            )
    return buckets


def popularity_bias(audience: Audience, tops: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the share of recommendations per popularity group, and how uneven they are.

    ::

        items in order of training count, most popular first, cut into ten groups of equal size
        share = of all places in everybody's first 20 that items of the group take
        gini  = of the places per item
    """
    order = np.argsort(-audience.counts, kind="stable")
    shown = {name: exposure(top, audience.num_items) for name, top in tops.items()}
    shown["training"] = audience.counts
    groups = np.array_split(order, min(GROUPS, audience.num_items))
    return {
        "share": {
            name: [float(counts[group].sum() / max(counts.sum(), 1)) for group in groups]
            for name, counts in shown.items()
        },
        "gini": {name: gini(counts) for name, counts in shown.items()},
    }


def _pairs(audience: Audience, top: Rows) -> Rows:
    """Return user and item of every place in the first `AT`, as one number each."""
    users, places = np.nonzero(top[:, :AT] >= 0)
    pairs: Rows = audience.rows[users] * audience.num_items + top[users, places]
    return pairs
