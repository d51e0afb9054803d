"""The figures of a results table from its finished rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import polars as pl

from mmgrec.evaluation.bootstrap import paired_bootstrap
from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.rows import Named, Row

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
DECIDING = "ndcg@20"
P = TypeVar("P", bound=IntEnum)


def results_of(
    config: ExperimentConfig,
    dataset: str,
    methods: Sequence[Named],
    rows: Mapping[P, Sequence[Sequence[Row]]],
    test_openings: int,
    deciding: P,
) -> dict[str, Any]:
    """Return the object of ``mmgrec experiment --json``.

    ::

        best baseline = the one with the best mean NDCG@20 on validation, for every split
        of a row: mean and standard deviation over seeds of the means over users;
                  difference to the best baseline, or the row that the file names: paired
                  bootstrap over users, of each user's mean over seeds

    Parameters
    ----------
    config : ExperimentConfig
        Seeds and resamples.
    dataset : str
        Its name.
    methods : sequence
        The rows.
    rows : mapping
        Part of the table (split) to the finished rows of every method, one per seed.
    test_openings : int
        Tables of this folder that have shown test figures, this one included.
    deciding : Split
        The part that chooses the best baseline.
    """
    best = _best_baseline(methods, rows[deciding])
    names = [method.name for method in methods]
    other = best if config.against is None else names.index(config.against)
    return {
        "dataset": dataset,
        "seeds": config.seeds,
        "resamples": config.resamples,
        "best_baseline": None if best is None else names[best],
        "against": None if other is None else names[other],
        "test_openings": test_openings,
        "splits": {
            split.name.lower(): _table(methods, per_method, other, config.resamples)
            for split, per_method in rows.items()
        },
    }


def _best_baseline(methods: Sequence[Named], rows: Sequence[Sequence[Row]]) -> int | None:
    scores = [
        _means(per_seed, DECIDING).mean() if method.kind == "baseline" else -np.inf
        for method, per_seed in zip(methods, rows, strict=True)
    ]
    return int(np.argmax(scores)) if max(scores) > -np.inf else None


def _table(
    methods: Sequence[Named], rows: Sequence[Sequence[Row]], other: int | None, resamples: int
) -> dict[str, Any]:
    averaged = [_average(per_seed) for per_seed in rows]
    table = []
    for place, (method, per_seed) in enumerate(zip(methods, rows, strict=True)):
        entry: dict[str, Any] = {
            "method": method.name,
            "kind": method.kind,
            "seeds": len(per_seed),
            "settings": per_seed[0].settings,
            "coverage@20": float(np.mean([row.coverage for row in per_seed])),
            "seconds": [row.seconds for row in per_seed],
            **{metric: _spread(per_seed, metric) for metric in METRICS},
        }
        if other is not None and place != other:
            pair = (averaged[place].select(METRICS), averaged[other].select(METRICS))
            found = paired_bootstrap(*(p.to_numpy() for p in pair), resamples=resamples)
            entry["difference"] = dict(zip(METRICS, map(asdict, found), strict=True))
        table.append(entry)
    return {"users": len(averaged[0]), "rows": table}


def _average(per_seed: Sequence[Row]) -> pl.DataFrame:
    """Average every user's metrics over seeds; rows are users in one order for all methods."""
    return pl.concat([row.users for row in per_seed]).group_by("user_row").mean().sort("user_row")


def _means(per_seed: Sequence[Row], metric: str) -> np.ndarray:
    return np.array([row.users[metric].to_numpy().mean() for row in per_seed])


def _spread(per_seed: Sequence[Row], metric: str) -> dict[str, Any]:
    means = _means(per_seed, metric)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return {"mean": float(means.mean()), "std": deviation}
