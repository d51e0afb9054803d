"""`experiment` with [cold]: how well items are recommended that nobody had in training."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import (
    ContentKnn,
    ContentKnnSettings,
    MatrixScorer,
    Rows,
    Scorer,
    Scores,
    grid_of,
    tune,
    validation_score,
)
from mmgrec.evaluation.cold import ColdItems, hold_out_items
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.metrics import coverage, per_user_metrics
from mmgrec.experiments.clock import Clock
from mmgrec.experiments.config import ColdConfig, ExperimentConfig, Variant
from mmgrec.experiments.results import results_of
from mmgrec.experiments.rows import Row, RowStore
from mmgrec.experiments.tables import markdown
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.reporter import Reporter
from mmgrec.training.tokenizer import tokenizer_config
from mmgrec_engine.artifact import ensure_folder, write_folder
from mmgrec_engine.engine import Engine
from mmgrec_engine.models.feature_map import FeatureMap
from mmgrec_engine.writers import write_bytes, write_json

KIND = "experiment"
K = 20


class Among(IntEnum):
    """What the new items are ranked among: each other, or the whole catalogue."""

    COLD = 0
    ALL = 1


Kind = Literal["baseline", "oracle", "ours"]
Fit = Callable[[int, ColdItems], tuple[Mapping[Among, Scorer], dict[str, Any]]]
"""A seed and its new items to a ranking of each kind, and the settings."""


@dataclass(frozen=True)
class ColdMethod:
    """A row of the table; fields as of `methods.Method`. All rows are made for every seed."""

    name: str
    slug: str
    kind: Kind
    seeds: tuple[int, ...]
    fingerprint: str
    fit: Fit


def run_cold(
    config: ExperimentConfig, cold: ColdConfig, out: Path, console: Console, device: str = "cpu"
) -> dict[str, Any]:
    """Make the results table of items that are new after training.

    ::

        for every seed: keep a share of the items, and all their interactions, from training;
            train on the rest; insert the items by their features alone;
            targets = all interactions of these items, of users who have training items
        ranked among the new items, and among all items; table as of `run_experiment`

    Parameters
    ----------
    config, cold : ExperimentConfig, ColdConfig
        Data, rows, seeds; share of the items.
    out : Path
        The experiment's folder. A killed experiment goes on where it was.
    console : Console
        Progress.
    device : str
        Where models train.

    Raises
    ------
    ConfigError
        The folder holds rows of the same name with other settings or data.
    DataError
        The data set has no features.
    """
    dataset = Dataset.load(config.data)
    held = {seed: hold_out_items(dataset, cold.share, seed) for seed in config.seeds}
    methods = _plan(config, cold, dataset, out, console, device)
    ensure_folder(out)
    store = RowStore(out)
    store.claim(methods)
    _fit_missing(methods, store, held, console)
    rows = {
        among: [[store.load(m, seed, among) for seed in m.seeds] for m in methods]
        for among in Among
    }
    results = results_of(config, dataset.name, methods, rows, 0, Among.COLD)
    results["cold"] = {
        "share": cold.share,
        "items": [len(found.rows) for found in held.values()],
        "interactions": [int(found.targets.lengths.sum()) for found in held.values()],
    }
    files = {"results.json": write_json(results), "results.md": write_bytes(markdown(results))}
    write_folder(out, KIND, {"test_tables": []}, files)
    return results


def _fit_missing(
    methods: list[ColdMethod], store: RowStore, held: Mapping[int, ColdItems], console: Console
) -> None:
    todo = [
        (method, seed, missing)
        for method in methods
        for seed in method.seeds
        if (missing := [among for among in Among if not store.has(method, seed, among)])
    ]
    clock = Clock(console, [method.slug for method, _, _ in todo], "NDCG@20 among new items")
    for method, seed, missing in todo:
        started, cold = time.monotonic(), held[seed]
        scorers, settings = method.fit(seed, cold)
        for among in missing:
            top = scorers[among].rank(cold.users, K)
            users = per_user_metrics(top, cold.targets, cold.users)
            covered = coverage(top, cold.visible.num_items)
            row = Row(users, settings, covered, time.monotonic() - started)
            store.save(method, seed, among, row)
        score = store.load(method, seed, Among.COLD).users["ndcg@20"].to_numpy().mean()
        clock.done(method, seed, time.monotonic() - started, score)


def _plan(
    config: ExperimentConfig,
    cold: ColdConfig,
    dataset: Dataset,
    out: Path,
    console: Console,
    device: str,
) -> list[ColdMethod]:
    digest = hashlib.sha256()
    dataset.hash_into(digest)

    def method(name: str, slug: str, kind: Kind, recipe: dict[str, Any], fit: Fit) -> ColdMethod:
        text = json.dumps([digest.hexdigest(), cold.share, recipe], sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return ColdMethod(name, slug, kind, tuple(config.seeds), fingerprint, fit)

    methods = [
        method("random", "random", "baseline", {"row": "random"}, _random),
        method("popular, known later", "popular", "oracle", {"row": "popular"}, _popular_later),
        method("content-knn", "content-knn", "baseline", {"row": "content-knn"}, _content_knn),
    ]
    for variant in config.ours:
        settings = variant.train_config().model_dump(mode="json")
        for row in variant.rows:
            recipe = {"row": row, "train_config": settings, "beam_width": config.beam_width}
            fit = _ours(config, variant, row == "dense", out, console, device)
            methods.append(method(*variant.named(row), "ours", recipe, fit))
    return methods


def _random(seed: int, cold: ColdItems) -> tuple[Mapping[Among, Scorer], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return _scorers(cold, lambda rows: rng.random((len(rows), cold.visible.num_items))), {}


def _popular_later(seed: int, cold: ColdItems) -> tuple[Mapping[Among, Scorer], dict[str, Any]]:
    """Rank by the interactions that the new items would get: what no method can know."""
    counts = np.bincount(cold.targets.item_rows, minlength=cold.visible.num_items)
    counts += np.bincount(
        cold.visible.histories(Split.TRAIN).item_rows, minlength=cold.visible.num_items
    )
    return _scorers(cold, lambda rows: np.tile(counts.astype(np.float64), (len(rows), 1))), {}


def _content_knn(seed: int, cold: ColdItems) -> tuple[Mapping[Among, Scorer], dict[str, Any]]:
    """Tuned on the validation interactions of the other items."""
    knn = ContentKnn(cold.visible)
    valid = cold.visible.histories(Split.VALID)
    grid = grid_of(ContentKnnSettings, knn.axes, knn.name)
    best = tune(grid, lambda point: validation_score(knn.fit(point, seed), knn.history, valid))
    return _scorers(cold, knn.fit(best, seed).score), best.model_dump()


def _ours(
    config: ExperimentConfig,
    variant: Variant,
    dense: bool,
    out: Path,
    console: Console,
    device: str,
) -> Fit:
    def fit(seed: int, cold: ColdItems) -> tuple[Mapping[Among, Scorer], dict[str, Any]]:
        folder = out / "runs" / f"{variant.name}-seed{seed}"
        shape = variant.train_config()
        shared = out / "encoders"
        run = Run(folder, cold.warm, shape, variant.preset, seed, device, shared=shared)
        report = Reporter(console, run.work / "logs")
        settings = {"preset": variant.preset, "overrides": variant.overrides}
        if dense:
            return _dense(run, report, cold), settings
        train_run(run, report)
        engine = Engine.load(folder)
        insert_cold(engine, cold)
        among_cold = EngineRank(engine, cold.visible, config.beam_width, allow=cold.ids)
        among_all = EngineRank(engine, cold.visible, config.beam_width)
        return {Among.COLD: among_cold, Among.ALL: among_all}, settings

    return fit


def insert_cold(engine: Engine, cold: ColdItems) -> None:
    """Insert the new items by their features, unless an earlier call has."""
    known = set(engine.items["item"])
    if not known.isdisjoint(cold.ids):
        return  # an insert is done for all items or for none
    engine.insert(cold.ids, *_features(cold))


def _dense(run: Run, report: Reporter, cold: ColdItems) -> Mapping[Among, Scorer]:
    tokens = tokenize_run(run, report)
    widths = tokenizer_config(run.dataset, run.config, tokens.item_vectors).modalities
    feature_map = FeatureMap(widths, tokens.features)
    users = tokens.user_vectors.numpy()
    items = np.empty((cold.visible.num_items, users.shape[1]), np.float32)
    items[~cold.mask] = tokens.item_vectors.numpy()
    items[cold.rows] = feature_map.vectors(*_features(cold), len(cold.rows))
    return _scorers(cold, lambda rows: users[rows] @ items.T)


def _features(cold: ColdItems) -> tuple[dict[str, Any], dict[str, Any]]:
    modalities = cold.visible.modalities
    features = {name: modality.values[cold.rows] for name, modality in modalities.items()}
    return features, {name: modality.present[cold.rows] for name, modality in modalities.items()}


def _scorers(cold: ColdItems, score: Callable[[Rows], Scores]) -> Mapping[Among, Scorer]:
    history, warm = cold.visible.histories(Split.TRAIN), ~cold.mask

    def score_cold(rows: Rows) -> Scores:
        scores = np.array(score(rows))
        scores[:, warm] = -np.inf
        return scores

    return {Among.COLD: MatrixScorer(history, score_cold), Among.ALL: MatrixScorer(history, score)}
