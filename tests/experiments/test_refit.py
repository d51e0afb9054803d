"""Tables whose test split is ranked after a refit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from rich.console import Console

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Ease, ItemKnn, KnnSettings, Scorer
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec.evaluation.protocol import HeldOut
from mmgrec.experiments.config import ExperimentConfig
from mmgrec.experiments.factors import vector_scorer
from mmgrec.experiments.runner import run_experiment
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.refit import refit_run
from mmgrec_engine.engine import Engine
from tests_shared import make_dataset, quiet_reporter, small_config

TABLE: dict[str, Any] = {
    "baselines": ["popular", "itemknn", "ease"],
    "grids": {"itemknn": {"neighbours": [5, 20], "shrink": [0], "user_power": [0]}},
    "ours": [
        {
            "name": "small",
            "rows": ["generative", "dense", "reranked"],
            "overrides": small_config().model_dump(mode="json"),
        }
    ],
    "test": True,
}


def table(folder: Path, **changes: object) -> dict[str, Any]:
    data = folder / "data"
    if not data.exists():
        make_dataset().save(data)
    config = ExperimentConfig.model_validate({"data": data, **TABLE, **changes})
    return run_experiment(config, folder / "out", Console(quiet=True))


def users(folder: Path, row: str) -> np.ndarray[Any, Any]:
    found = pl.read_parquet(folder / "out" / "rows" / row / "users.parquet")
    return found.sort("user_row")["ndcg@20"].to_numpy()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("refit")
    return folder, table(folder, refit=True)


def test_the_test_split_is_ranked_by_what_is_fitted_once_more(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, results = finished
    dataset = Dataset.load(folder / "data")
    known = dataset.knowing(Split.VALID)
    held_out = HeldOut.of(known, Split.TEST)
    assert held_out.history.lengths.sum() > dataset.histories(Split.TRAIN).lengths.sum()

    def expect(row: str, scorer: Scorer) -> None:
        ranked = per_user_metrics(held_out.rank(scorer), held_out.relevant, held_out.rows)
        expected = ranked.sort("user_row")["ndcg@20"].to_numpy()
        np.testing.assert_array_equal(users(folder, f"{row}-refit"), expected)

    settings = {row["method"]: row["settings"] for row in results["splits"]["valid"]["rows"]}
    expect("itemknn-seed0", ItemKnn(known).fit(KnnSettings(**settings["itemknn"]), 0))
    expect("ease-seed0", Ease(known).fit(Ease.settings_type(**settings["ease"]), 0))

    # By hand, with nothing of the experiment's.
    run = Run(tmp_path / "run", dataset, small_config(), "default", 1)
    train_run(run, quiet_reporter(tmp_path / "logs"))
    again = refit_run(run.folder, dataset, tmp_path / "refit")
    train_run(again, quiet_reporter(tmp_path / "logs"))
    expect("small-seed1", EngineRank(Engine.load(again.folder), known, 50))
    tokens = tokenize_run(again, quiet_reporter(tmp_path / "logs"))
    history = known.histories(Split.TRAIN)
    expect("small.dense-seed1", vector_scorer(history, tokens.user_vectors, tokens.item_vectors))
    for name in ("model.safetensors", "trie.bin", "choices.json"):
        theirs = folder / "out" / "runs" / "small-seed1-refit" / name
        assert theirs.read_bytes() == (again.folder / name).read_bytes()


def test_the_table_says_that_it_is_a_refit(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    assert set(results["splits"]) == {"valid", "refit"}
    assert results["test_openings"] == 1
    assert json.loads((folder / "out" / "results.json").read_text()) == results
    text = (folder / "out" / "results.md").read_text()
    assert "fitted once more on training and validation items" in text
    assert text.count("| small, reranked |") == 2
    shares = [
        [row["settings"].get("dense_share") for row in figures["rows"]]
        for figures in results["splits"].values()
    ]
    assert shares[0] == shares[1]


def test_plain_rows_are_others(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, results = finished
    shutil.copytree(folder, tmp_path / "copy")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "copy").glob("out/rows/*/config.json")}
    plain = table(tmp_path / "copy")
    assert plain["splits"]["valid"] == results["splits"]["valid"]  # what was chosen is shared
    assert plain["test_openings"] == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    for row in ("itemknn-seed0", "small-seed0", "small.dense-seed0"):
        test, refit = users(tmp_path / "copy", f"{row}-test"), users(folder, f"{row}-refit")
        assert not np.array_equal(test, refit)


def test_only_encoders_are_trained_where_rows_are_dense(tmp_path: Path) -> None:
    ours = [{**TABLE["ours"][0], "rows": ["dense"]}]
    results = table(tmp_path, ours=ours, baselines=["popular"], grids={}, refit=True)
    assert len(results["splits"]["refit"]["rows"]) == 2
    assert (tmp_path / "out/runs/small-seed0-refit/tokenizer").is_dir()
    assert not (tmp_path / "out/runs/small-seed0-refit/model.safetensors").exists()
    # Rows that are added go on with what is there.
    vectors = tmp_path / "out/runs/small-seed0-refit/tokenizer/vectors.safetensors"
    made = vectors.stat().st_mtime_ns
    more = table(tmp_path, baselines=["popular"], grids={}, refit=True)
    assert len(more["splits"]["refit"]["rows"]) == 4
    assert vectors.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ["ease", "vbpr", "bpr-mf"], "grids": {}}, "epochs: vbpr, bpr-mf"),
        ({"test": False}, "test = true"),
    ],
)
def test_tables_that_cannot_be_refitted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ExperimentConfig.model_validate({"data": "x", **TABLE, "refit": True, **changes})
