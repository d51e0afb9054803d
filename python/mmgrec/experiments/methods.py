"""What a configuration's rows are, and how each is fitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Ease, ItemKnn, Popular, Scorer, grid_of
from mmgrec.experiments.bpr_mf import BprMf
from mmgrec.experiments.config import CLOSED_FORM, ExperimentConfig, Variant
from mmgrec.experiments.factors import Workplace
from mmgrec.experiments.lightgcn import LightGcn, LightGcnSoftmax
from mmgrec.experiments.ours import dense, generative, refitted, reranked
from mmgrec.experiments.reranked import Reranked
from mmgrec.experiments.tuned import tuned_settings
from mmgrec.experiments.vbpr import Vbpr
from mmgrec.training.pipeline import Run
from mmgrec.training.reporter import Reporter

CLOSED: dict[str, type[Any]] = {b.name: b for b in (Popular, ItemKnn, Ease)}
TRAINED: dict[str, type[Any]] = {b.name: b for b in (BprMf, LightGcn, LightGcnSoftmax, Vbpr)}
CHECKS = {"ease": Ease.check, "vbpr": Vbpr.check}


class Part(IntEnum):
    """What a table ranks by: ``REFIT`` is the test split, after a refit."""

    VALID = Split.VALID
    TEST = Split.TEST
    REFIT = 3


@dataclass(frozen=True)
class Fitted:
    """A method, fitted to the training items, and its settings.

    ``refit`` fits it once more, with what was chosen on validation, to validation items too.
    """

    scorer: Scorer
    settings: dict[str, Any]
    refit: Callable[[], Scorer]

    def scorer_of(self, part: Part) -> Scorer:
        """Return what ranks a part of the table."""
        return self.refit() if part == Part.REFIT else self.scorer


Fit = Callable[[int], Fitted]
"""A seed to a fitted method."""


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

    def rank(run: Run, share: float | None = None) -> Scorer:
        report = Reporter(bench.console, run.work / "logs")
        if row == "dense":
            return dense(run, report)
        if row == "generative":
            return generative(run, report, width)
        return reranked(run, report, width, share)

    def fit(seed: int) -> Fitted:
        name = f"{variant.name}-seed{seed}"
        run = Run(
            bench.out / "runs" / name,
            bench.dataset,
            settings,
            variant.preset,
            seed,
            bench.device,
            shared=bench.out / "encoders",
        )
        scorer = rank(run)
        described: dict[str, Any] = {"preset": variant.preset, "overrides": variant.overrides}
        share = scorer.share if isinstance(scorer, Reranked) else None
        if share is not None:
            described |= {"dense_share": share}

        def again() -> Scorer:
            report = Reporter(bench.console, run.work / "logs")
            folder = bench.out / "runs" / f"{name}-refit"
            return rank(refitted(run, report, folder, whole=row != "dense"), share)

        return Fitted(scorer, described, again)

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

        def fit(seed: int) -> Fitted:
            settings = tuned_settings(
                bench.out / "tuned" / name, visible, baseline, grid, seeds[0], work
            )

            def again() -> Scorer:
                assert name in CLOSED_FORM  # of the others no epochs are known: see the config
                scorer: Scorer = CLOSED[name](visible.knowing(Split.VALID)).fit(settings, seed)
                return scorer

            return Fitted(baseline.fit(settings, seed), settings.model_dump(), again)

        return fit

    return Method(name, name, "baseline", seeds, fingerprint, prepare)
