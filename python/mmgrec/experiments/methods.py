"""What a configuration's rows are, and how each is fitted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Ease, ItemKnn, Popular, Scorer, Settings, grid_of, tune
from mmgrec.experiments.bpr_mf import BprMf
from mmgrec.experiments.config import ExperimentConfig, Variant
from mmgrec.experiments.factors import Workplace
from mmgrec.experiments.lightgcn import LightGcn, LightGcnSoftmax
from mmgrec.experiments.ours import dense, generative
from mmgrec.experiments.vbpr import Vbpr
from mmgrec.training.pipeline import Run
from mmgrec.training.reporter import Reporter
from mmgrec_engine.artifact import folder_exists, open_folder, write_folder

TUNING = "experiment-tuning"
CLOSED: dict[str, type[Any]] = {b.name: b for b in (Popular, ItemKnn, Ease)}
TRAINED: dict[str, type[Any]] = {b.name: b for b in (BprMf, LightGcn, LightGcnSoftmax, Vbpr)}
CHECKS = {"ease": Ease.check, "vbpr": Vbpr.check}

Fit = Callable[[int], tuple[Scorer, dict[str, Any]]]
"""A seed to a fitted method and its settings."""


@dataclass(frozen=True)
class Method:
    """A row of the table.

    ``slug`` names its folders; ``fingerprint`` hashes the data and all that determines the row
    besides its seed. ``prepare`` makes what its seeds share and returns what fits one.
    """

    name: str
    slug: str
    kind: Literal["baseline", "ours"]
    seeds: tuple[int, ...]
    fingerprint: str
    prepare: Callable[[], Fit]


@dataclass(frozen=True)
class Bench:
    """What all methods of an experiment share."""

    config: ExperimentConfig
    dataset: Dataset
    out: Path
    console: Console
    device: str


def plan(bench: Bench) -> list[Method]:
    """Return all rows of the table, baselines first.

    Raises
    ------
    DataError
        A baseline cannot run on this data set.
    ConfigError
        A grid does not fit its baseline.
    """
    digest = hashlib.sha256()
    bench.dataset.hash_into(digest)
    data = digest.hexdigest()
    methods = [_baseline(bench, name, data) for name in bench.config.baselines]
    for variant in bench.config.ours:
        methods += [_ours(bench, variant, row, data) for row in variant.rows]
    return methods


def _fingerprint(data: str, recipe: dict[str, Any]) -> str:
    return hashlib.sha256(f"{data}/{json.dumps(recipe, sort_keys=True)}".encode()).hexdigest()


def _ours(bench: Bench, variant: Variant, row: str, data: str) -> Method:
    settings = variant.train_config()
    width = bench.config.beam_width
    recipe: dict[str, Any] = {"train_config": settings.model_dump(mode="json"), "row": row}
    if row == "generative":
        recipe["beam_width"] = width

    def fit(seed: int) -> tuple[Scorer, dict[str, Any]]:
        folder = bench.out / "runs" / f"{variant.name}-seed{seed}"
        run = Run(folder, bench.dataset, settings, variant.preset, seed, bench.device)
        report = Reporter(bench.console, run.work / "logs")
        scorer = dense(run, report) if row == "dense" else generative(run, report, width)
        return scorer, {"preset": variant.preset, "overrides": variant.overrides}

    is_dense = row == "dense"
    return Method(
        f"{variant.name}, dense" if is_dense else variant.name,
        f"{variant.name}.dense" if is_dense else variant.name,
        "ours",
        tuple(bench.config.seeds),
        _fingerprint(data, recipe),
        lambda: fit,
    )


def _baseline(bench: Bench, name: str, data: str) -> Method:
    kind = (CLOSED | TRAINED)[name]
    if name in CHECKS:
        CHECKS[name](bench.dataset)
    axes = {**kind.axes, **bench.config.grids.get(name, {})}  # type: ignore[call-overload]
    grid = grid_of(kind.settings_type, axes, name)
    seeds = tuple(bench.config.seeds) if kind.seeded else (bench.config.seeds[0],)
    recipe: dict[str, Any] = {"baseline": name, "grid": [point.model_dump() for point in grid]}
    if kind.seeded:
        recipe["tuned_with_seed"] = seeds[0]
    fingerprint = _fingerprint(data, recipe)

    def prepare() -> Fit:
        visible = bench.dataset.without(Split.TEST)
        work = Workplace(bench.out / "work" / name, fingerprint, bench.console, bench.device)
        baseline = kind(visible, work) if name in TRAINED else kind(visible)

        def fit(seed: int) -> tuple[Scorer, dict[str, Any]]:
            settings = _tuned(bench, visible, baseline, grid, seeds[0], work)
            return baseline.fit(settings, seed), settings.model_dump()

        return fit

    return Method(name, name, "baseline", seeds, fingerprint, prepare)


def _tuned(
    bench: Bench,
    visible: Dataset,
    baseline: Any,  # noqa: ANN401 - a Baseline
    grid: list[Settings],
    seed: int,
    work: Workplace,
) -> Settings:
    """Choose the settings of a baseline, or read an earlier choice."""
    folder = bench.out / "tuned" / baseline.name
    if folder_exists(folder, TUNING):
        config = open_folder(folder, TUNING).config
        if config["fingerprint"] == work.fingerprint:
            chosen: Settings = baseline.settings_type(**config["settings"])
            return chosen

    def fit(settings: Settings) -> Scorer:
        values = ", ".join(f"{name} {value:g}" for name, value in settings.model_dump().items())
        place = f"{grid.index(settings) + 1}/{len(grid)}"
        bench.console.print(f"  {baseline.name}, {place}: {values}", soft_wrap=True)
        scorer: Scorer = baseline.fit(settings, seed)
        return scorer

    histories = (visible.histories(Split.TRAIN), visible.histories(Split.VALID))
    best, scores = tune(grid, fit, *histories)
    tried = [{**p.model_dump(), "ndcg@20": s} for p, s in zip(grid, scores, strict=False)]
    config = {"fingerprint": work.fingerprint, "settings": best.model_dump(), "tried": tried}
    write_folder(folder, TUNING, config, {})
    for point in grid:
        if point != best:
            shutil.rmtree(work.point(point, seed), ignore_errors=True)
    return best
