"""Whole experiments on the toy data set: figures, resume, what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import mmgrec.experiments.methods as methods
from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Popular
from mmgrec.evaluation.bootstrap import paired_bootstrap
from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.runner import run_experiment
from mmgrec.experiments.tables import result_tables
from mmgrec_engine.errors import ConfigError, DataError
from tests_shared import make_dataset, small_config

SMALL = {
    "baselines": ["popular", "itemknn", "bpr-mf"],
    "grids": {
        "itemknn": {"neighbours": [10, 20], "shrink": [0], "user_power": [0, 1]},
        "bpr-mf": {"learning_rate": [0.01, 0.03], "l2": [0.001], "epochs": [12], "width": [8]},
    },
    "ours": [
        {
            "name": "small",
            "rows": ["generative", "dense"],
            "overrides": small_config().model_dump(mode="json"),
        }
    ],
}


def run(folder: Path, **changes: object) -> dict[str, Any]:
    data = folder / "data"
    if not data.exists():
        make_dataset().save(data)
    config = ExperimentConfig.model_validate({"data": data, **SMALL, **changes})
    return run_experiment(config, folder / "out", Console(quiet=True))


def timeless(results: Any) -> Any:  # noqa: ANN401 - any JSON
    """Results without how long they took."""
    if isinstance(results, dict):
        return {k: timeless(v) for k, v in results.items() if k != "seconds"}
    return [timeless(v) for v in results] if isinstance(results, list) else results


def stamps(folder: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in folder.glob("out/rows/*/config.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("experiment")
    return folder, run(folder, test=True)


def test_figures_are_those_of_the_rows(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    assert json.loads((folder / "out/results.json").read_text()) == results
    assert set(results["splits"]) == {"valid", "test"}
    averaged = {}
    for row in results["splits"]["test"]["rows"]:
        slug = row["method"].replace(", dense", ".dense")
        paths = sorted(folder.glob(f"out/rows/{slug}-seed*-test/users.parquet"))
        assert len(paths) == row["seeds"] == (1 if slug in ("popular", "itemknn") else 3)
        scores = np.array([pl.read_parquet(path)["ndcg@20"].to_numpy() for path in paths])
        averaged[row["method"]] = scores.mean(0)
        means = scores.mean(1)
        assert row["ndcg@20"]["mean"] == pytest.approx(means.mean())
        assert row["ndcg@20"]["std"] == (
            pytest.approx(means.std(ddof=1)) if len(means) > 1 else None
        )
    best = results["best_baseline"]
    for row in results["splits"]["test"]["rows"]:
        if row["method"] == best:
            assert "difference" not in row
            continue
        found = row["difference"]["ndcg@20"]
        pair = averaged[row["method"]][:, None], averaged[best][:, None]
        (direct,) = paired_bootstrap(*pair, resamples=10_000)
        assert found["mean"] == pytest.approx(direct.mean)
        assert (found["low"], found["high"]) == pytest.approx((direct.low, direct.high))
        assert found["p"] == pytest.approx(direct.p)


def test_the_best_baseline_is_chosen_on_validation(finished: tuple[Path, dict[str, Any]]) -> None:
    _, results = finished
    baselines = [r for r in results["splits"]["valid"]["rows"] if r["kind"] == "baseline"]
    best = max(baselines, key=lambda row: row["ndcg@20"]["mean"])
    assert results["best_baseline"] == best["method"] != "popular"


def test_differences_to_a_row_of_ours(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    other = run(folder, test=True, against="small, dense")
    run(folder, test=True)  # leave the table as it was
    assert (other["best_baseline"], other["against"]) == (results["best_baseline"], "small, dense")
    best = results["best_baseline"]
    for split, figures in other["splits"].items():
        rows = {row["method"]: row for row in figures["rows"]}
        before = {row["method"]: row for row in results["splits"][split]["rows"]}
        assert "difference" not in rows["small, dense"]
        forth = rows[best]["difference"]["ndcg@20"]["mean"]
        assert forth == pytest.approx(-before["small, dense"]["difference"]["ndcg@20"]["mean"])
        assert rows["small"]["difference"]["ndcg@20"]["mean"] == pytest.approx(
            rows["small"]["ndcg@20"]["mean"] - rows["small, dense"]["ndcg@20"]["mean"]
        )
    (table, _) = result_tables(other)
    assert "Δ: to small, dense; paired" in str(table.caption)


def test_tables_show_every_row(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    text = (folder / "out/results.md").read_text()
    assert text.count("| small, dense |") == 2
    assert "opened once" in text
    assert "learning_rate=" in text
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in result_tables(results):
        console.print(table)
    shown = console.export_text()
    for row in results["splits"]["valid"]["rows"]:
        assert f"{row['ndcg@20']['mean']:.4f}"[1:] in shown
        assert row["method"].split(",")[0] in shown


def test_lost_rows_alone_are_made_again(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    lost = ["small-seed2-valid", "bpr-mf-seed0-test"]
    before = stamps(folder)
    for name in lost:
        shutil.rmtree(folder / "out/rows" / name)
    assert timeless(run(folder, test=True)) == timeless(results)
    after = stamps(folder)
    assert {name for name in before if before[name] != after[name]} == set(lost)


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.rows import RowStore
from mmgrec.experiments.runner import run_experiment
import torch
torch.set_num_threads(2)
save, calls = RowStore.save, []
def die(self, method, seed, split, row):
    calls.append(1)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, method, seed, split, row)
RowStore.save = die
config = ExperimentConfig.model_validate_json(sys.argv[1])
run_experiment(config, Path(sys.argv[2]), Console(quiet=True))
"""


def test_a_killed_experiment_goes_on(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    make_dataset().save(tmp_path / "data")
    config = ExperimentConfig.model_validate({"data": tmp_path / "data", **SMALL, "test": True})
    words = [config.model_dump_json(), str(tmp_path / "out"), "7"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    before = stamps(tmp_path)
    assert len(before) == 6
    assert not (tmp_path / "out/results.json").exists()
    assert timeless(run(tmp_path, test=True)) == timeless(finished[1])
    assert {name: stamps(tmp_path)[name] for name in before} == before


def test_how_often_the_test_split_was_opened(tmp_path: Path) -> None:
    few = {"ours": [], "grids": {}, "baselines": ["popular"]}
    first = run(tmp_path, **few)
    assert first["test_openings"] == 0
    assert set(first["splits"]) == {"valid"}
    assert not list(tmp_path.glob("out/rows/*-test"))
    assert [run(tmp_path, **few, test=True)["test_openings"] for _ in range(2)] == [1, 1]
    more = run(tmp_path, **{**few, "baselines": ["popular", "ease"]}, test=True)
    assert more["test_openings"] == 2
    assert "opened for 2 tables" in (tmp_path / "out/results.md").read_text()
    assert run(tmp_path, **few)["test_openings"] == 2


def test_rows_of_other_settings_or_data_are_not_mixed_in(tmp_path: Path) -> None:
    few = {"ours": [], "baselines": ["itemknn"]}
    run(tmp_path, **few, grids={"itemknn": {"neighbours": [5]}})
    with pytest.raises(ConfigError, match="other settings or other data"):
        run(tmp_path, **few, grids={})
    make_dataset(seed=1).save(tmp_path / "data")
    with pytest.raises(ConfigError, match="other settings or other data"):
        run(tmp_path, **few, grids={"itemknn": {"neighbours": [5]}})


def test_baselines_never_see_the_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Curious(Popular):
        def __init__(self, dataset: Dataset) -> None:
            assert set(dataset.interactions["split"].unique()) == {Split.TRAIN, Split.VALID}
            super().__init__(dataset)
            seen.append(dataset.num_items)

    seen: list[int] = []
    monkeypatch.setitem(methods.CLOSED, "popular", Curious)
    run(tmp_path, ours=[], grids={}, baselines=["popular"], test=True)
    assert seen == [40]


def test_what_cannot_run_is_said_before_anything_is_done(tmp_path: Path) -> None:
    make_dataset().without_features().save(tmp_path / "data")
    with pytest.raises(DataError, match="no modality"):
        run(tmp_path, ours=[], grids={}, baselines=["popular", "vbpr"])
    empty = make_dataset()
    empty.without(Split.TEST).save(tmp_path / "data")
    with pytest.raises(DataError, match="test split is empty"):
        run(tmp_path, ours=[], grids={}, baselines=["popular"], test=True)
    with pytest.raises(ConfigError, match="grid of popular"):
        run(tmp_path, ours=[], grids={"popular": {"l2": [1]}}, baselines=["popular"])
    assert not (tmp_path / "out").exists()
