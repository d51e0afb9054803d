"""`experiment`: fit and measure every row that is missing, then write the table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Scorer
from mmgrec.evaluation.metrics import coverage, per_user_metrics
from mmgrec.evaluation.protocol import HeldOut
from mmgrec.experiments.clock import Clock
from mmgrec.experiments.cold import run_cold
from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.methods import Bench, Fit, Method, Part, plan
from mmgrec.experiments.results import results_of
from mmgrec.experiments.rows import Row, RowStore
from mmgrec.experiments.tables import markdown
from mmgrec_engine.artifact import ensure_folder, folder_exists, open_folder, write_folder
from mmgrec_engine.writers import write_bytes, write_json

KIND = "experiment"


def run_experiment(
    config: ExperimentConfig, out: Path, console: Console, device: str = "cpu"
) -> dict[str, Any]:
    """Make the results table of a configuration.

    ::

        for every method and seed without a finished row: fit, rank, keep per-user metrics
        (a baseline is tuned once, on validation, with the first seed)
        with `refit`, what ranks the test split is fitted once more, on validation items too
        table = means and deviations over seeds, paired bootstrap against the best baseline

    Parameters
    ----------
    config : ExperimentConfig
        Data, rows, seeds, splits.
    out : Path
        The experiment's folder. A killed experiment goes on with the row it was at, and that row's
        training with its last checkpoint.
    console : Console
        Progress.
    device : str
        Where models train.

    Returns
    -------
    dict
        The object of ``mmgrec experiment --json``; also in ``results.json``, and as a table in
        ``results.md``.

    Raises
    ------
    ConfigError
        The folder holds rows of the same name with other settings or data.
    DataError
        A split is empty, or a baseline cannot run on the data set.
    """
    if config.cold is not None:
        return run_cold(config, config.cold, out, console, device)
    dataset = Dataset.load(config.data)
    held_out = _held_out(config, dataset)
    methods = plan(Bench(config, dataset, out, console, device))
    ensure_folder(out)
    store = RowStore(out)
    store.claim(methods)
    _fit_missing(methods, store, held_out, console)
    rows = {
        part: [[store.load(m, seed, part) for seed in m.seeds] for m in methods]
        for part in held_out
    }
    tables = _test_tables(out, methods if config.test else [], " refit" if config.refit else "")
    results = results_of(config, dataset.name, methods, rows, len(tables), Part.VALID)
    files = {"results.json": write_json(results), "results.md": write_bytes(markdown(results))}
    write_folder(out, KIND, {"test_tables": tables}, files)
    return results


def _held_out(config: ExperimentConfig, dataset: Dataset) -> dict[Part, HeldOut]:
    found = {Part.VALID: HeldOut.of(dataset, Split.VALID)}
    if config.refit:
        found[Part.REFIT] = HeldOut.of(dataset.knowing(Split.VALID), Split.TEST)
    elif config.test:
        found[Part.TEST] = HeldOut.of(dataset, Split.TEST)
    return found


def _fit_missing(
    methods: list[Method], store: RowStore, held_out: dict[Part, HeldOut], console: Console
) -> None:
    missing = {
        (method.slug, seed): [s for s in held_out if not store.has(method, seed, s)]
        for method in methods
        for seed in method.seeds
    }
    todo = [slug for (slug, _), splits in missing.items() if splits]
    clock = Clock(console, todo, "validation NDCG@20")
    for method in methods:
        fit: Fit | None = None  # what its seeds share; freed before the next method
        for seed in method.seeds:
            if not missing[method.slug, seed]:
                continue
            started = time.monotonic()
            fit = fit or method.prepare()
            fitted = fit(seed)
            for part in missing[method.slug, seed]:
                scorer = fitted.scorer_of(part)
                seconds = time.monotonic() - started
                row = _measure(scorer, held_out[part], fitted.settings, seconds)
                store.save(method, seed, part, row)
            users = store.load(method, seed, Part.VALID).users
            clock.done(method, seed, time.monotonic() - started, users["ndcg@20"].to_numpy().mean())


def _measure(scorer: Scorer, held_out: HeldOut, settings: dict[str, Any], seconds: float) -> Row:
    top = held_out.rank(scorer)
    users = per_user_metrics(top, held_out.relevant, held_out.rows)
    return Row(users, settings, coverage(top, held_out.num_items), seconds)


def _test_tables(out: Path, methods: list[Method], kind: str) -> list[list[str]]:
    """Return the rows of every table that has shown test figures, with this one, if it is new."""
    known: list[list[str]] = []
    if folder_exists(out, KIND):
        known = open_folder(out, KIND).config["test_tables"]
    rows = sorted(f"{m.slug} {m.fingerprint} seed {s}{kind}" for m in methods for s in m.seeds)
    return known if not rows or rows in known else [*known, rows]
