"""The choice of a baseline's settings, kept on disk point by point."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Baseline, Settings, tune, validation_score
from mmgrec.experiments.factors import Workplace
from mmgrec_engine.artifact import folder_exists, open_folder, write_folder

TUNING = "experiment-tuning"
S = TypeVar("S", bound=Settings)


def tuned_settings(
    folder: Path,
    visible: Dataset,
    baseline: Baseline,
    grid: Sequence[S],
    seed: int,
    work: Workplace,
) -> S:
    """Choose the point of a baseline's grid with the best validation NDCG@20.

    ::

        score every point that has no score in the folder yet, and note it there
        forget the checkpoints of all points but the best

    Parameters
    ----------
    folder : Path
        Where scores are kept.
    visible : Dataset
        The data set without its test split.
    baseline : Baseline
        Made from it.
    grid : sequence
        Points.
    seed : int
        Of all fits.
    work : Workplace
        The baseline's checkpoints and console.
    """
    history, valid = visible.histories(Split.TRAIN), visible.histories(Split.VALID)
    tried = _tried(folder)

    def score(settings: S) -> float:
        point = settings.model_dump()
        for known in tried:
            if known["settings"] == point:
                return float(known["ndcg@20"])
        values = ", ".join(f"{name} {value:g}" for name, value in point.items())
        place = f"{list(grid).index(settings) + 1}/{len(grid)}"
        work.console.print(f"  {baseline.name}, {place}: {values}", soft_wrap=True)
        found = validation_score(baseline.fit(settings, seed), history, valid)
        tried.append({"settings": point, "ndcg@20": found})
        write_folder(folder, TUNING, {"tried": tried}, {})
        return found

    best = tune(grid, score)
    for point in grid:
        if point != best:
            shutil.rmtree(work.point(point, seed), ignore_errors=True)
    return best


def _tried(folder: Path) -> list[dict[str, Any]]:
    if not folder_exists(folder, TUNING):
        return []
    tried: list[dict[str, Any]] = open_folder(folder, TUNING).config["tried"]
    return tried
