"""What a configuration's rows are, and how each is fitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Ease, ItemKnn, Popular, Scorer, grid_of
from mmgrec.experiments.bpr_mf import BprMf
from mmgrec.experiments.config import ExperimentConfig, Variant
from mmgrec.experiments.factors import Workplace
from mmgrec.experiments.lightgcn import LightGcn, LightGcnSoftmax
from mmgrec.experiments.ours import dense, generative, reranked
from mmgrec.experiments.tuned import tuned_settings
from mmgrec.experiments.vbpr import Vbpr
from mmgrec.training.pipeline import Run
from mmgrec.training.reporter import Reporter

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
    if row != "dense":
        recipe["beam_width"] = width

    def fit(seed: int) -> tuple[Scorer, dict[str, Any]]:
        folder = bench.out / "runs" / f"{variant.name}-seed{seed}"
        run = Run(
            folder,
            bench.dataset,
            settings,
            variant.preset,
            seed,
            bench.device,
            shared=bench.out / "encoders",
        )
        report = Reporter(bench.console, run.work / "logs")
        described = {"preset": variant.preset, "overrides": variant.overrides}
        if row == "dense":
            return dense(run, report), described
        if row == "generative":
            return generative(run, report, width), described
        mixed = reranked(run, report, width)
        return mixed, described | {"dense_share": mixed.share}

    return Method(
        *variant.named(row),
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
    seeds = tuple(bench.config.seeds) if kind.seeded else (0,)
    recipe: dict[str, Any] = {"baseline": name, "grid": [point.model_dump() for point in grid]}
    if kind.seeded:
        recipe["tuned_with_seed"] = seeds[0]
    fingerprint = _fingerprint(data, recipe)

    def prepare() -> Fit:
        visible = bench.dataset.without(Split.TEST)
        work = Workplace(bench.out / "work" / name, fingerprint, bench.console, bench.device)
        baseline = kind(visible, work) if name in TRAINED else kind(visible)

        def fit(seed: int) -> tuple[Scorer, dict[str, Any]]:
            settings = tuned_settings(
                bench.out / "tuned" / name, visible, baseline, grid, seeds[0], work
            )
            return baseline.fit(settings, seed), settings.model_dump()

        return fit

    return Method(name, name, "baseline", seeds, fingerprint, prepare)
