"""The table of new items on the toy data set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from rich.console import Console

from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.runner import run_experiment
from mmgrec.experiments.tables import result_tables
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset, small_config

SMALL = {
    "cold": {"share": 0.2},
    "ours": [
        {
            "name": "small",
            "rows": ["generative", "dense"],
            "overrides": small_config().model_dump(mode="json"),
        }
    ],
}


def run(folder: Path, **changes: object) -> dict[str, Any]:
    if not (folder / "data").exists():
        make_dataset().save(folder / "data")
    config = ExperimentConfig.model_validate({"data": folder / "data", **SMALL, **changes})
    return run_experiment(config, folder / "out", Console(quiet=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cold")
    return folder, run(folder)


def test_new_items_are_inserted_and_never_trained_on(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, results = finished
    for seed, count in enumerate(results["cold"]["items"]):
        run_folder = folder / f"out/runs/small-seed{seed}"
        trained = pl.read_parquet(run_folder / "items.parquet")
        assert len(trained) == 40 - count
        engine = Engine.load(run_folder)
        assert len(engine.items) == 40
        new = set(engine.items["item"]) - set(trained["item"])
        assert len(new) == count == 8
        (found,) = engine.recommend([trained["item"][:3].to_list()], k=8, allow=sorted(new)).items
        assert set(found) == new


def test_rows_are_ranked_among_new_and_among_all_items(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, results = finished
    assert set(results["splits"]) == {"cold", "all"}
    names = ["random", "popular, known later", "content-knn", "small", "small, dense"]
    for part in ("cold", "all"):
        rows = results["splits"][part]["rows"]
        assert [row["method"] for row in rows] == names
        assert {row["seeds"] for row in rows} == {3}
    assert results["best_baseline"] in ("random", "content-knn")
    by_name = {row["method"]: row for row in results["splits"]["cold"]["rows"]}
    # All eight new items are among the first twenty of them.
    assert by_name["small"]["recall@10"]["mean"] == pytest.approx(1)
    among_all = {row["method"]: row for row in results["splits"]["all"]["rows"]}
    assert among_all["small"]["recall@10"]["mean"] < 1
    # The toy's features tell its users' tastes.
    assert by_name["content-knn"]["ndcg@10"]["mean"] > by_name["random"]["ndcg@10"]["mean"]


def test_tables_say_what_was_held_out(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    text = (folder / "out/results.md").read_text()
    assert "new items ranked among themselves" in text
    assert "8 / 8 / 8 items" in text
    assert len(list(result_tables(results))) == 2


def test_a_lost_row_is_made_again_without_inserting_twice(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, results = finished
    shutil.rmtree(folder / "out/rows/small-seed1-all")
    again = run(folder)
    for part in ("cold", "all"):
        for before, after in zip(
            results["splits"][part]["rows"], again["splits"][part]["rows"], strict=True
        ):
            assert before["ndcg@20"] == after["ndcg@20"]


def test_what_does_not_go_with_new_items_is_refused(tmp_path: Path) -> None:
    reranked = {"ours": [{"name": "small", "rows": ["reranked"]}]}
    for wrong in ({"test": True}, {"baselines": ["popular"]}, {"cold": {"share": 1}}, reranked):
        with pytest.raises(ValidationError):
            ExperimentConfig.model_validate({"data": "x", "cold": {}, **wrong})
    make_dataset().without_features().save(tmp_path / "data")
    with pytest.raises(DataError, match="no items to hold out"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    assert np.isclose(ExperimentConfig.model_validate({"data": "x", "cold": {}}).cold.share, 0.1)  # type: ignore[union-attr]
