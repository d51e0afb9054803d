"""Training once more on validation items too, with what a run has chosen on them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import mmgrec.training.recommender as recommender
import mmgrec.training.tokenizer as tokenizer
from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import ItemKnn, KnnSettings, Popular, Settings
from mmgrec.evaluation.protocol import HeldOut, evaluate
from mmgrec.reports.figures import Wish, report_figures
from mmgrec.training.choices import Choices
from mmgrec.training.graph import GraphStage
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.quantizer import QuantizerStage
from mmgrec.training.recommender import RecommenderStage
from mmgrec.training.refit import read_choices, refit_run
from mmgrec_engine.artifact import open_folder, write_folder
from mmgrec_engine.errors import ArtifactError, ConfigError, DataError
from mmgrec_engine.model_folder import load_model_folder
from mmgrec_engine.models.rqvae import RQVAEConfig
from mmgrec_engine.writers import write_bytes, write_json
from tests_shared import make_dataset, quiet_reporter, small_config

CHOSEN = Choices.model_validate(
    {
        "tokenizer": {
            "encoders": (2, 3),
            "quantizer": None,
            "width": 32,
            "ridge_strength": 50.0,
            "ridge_share": 0.2,
        },
        "recommender": {"history_decay": 0.6, "softness": 0.4, "epochs": 2},
    }
)
SCALE = small_config().graph_training.score_scale


def with_epochs(epochs: int) -> Choices:
    assert CHOSEN.recommender is not None
    changed = CHOSEN.recommender.model_copy(update={"epochs": epochs})
    return CHOSEN.model_copy(update={"recommender": changed})


def train(run: Run) -> Path:
    train_run(run, quiet_reporter(run.work / "logs"))
    return run.folder


def refit(before: Path, dataset: Dataset, folder: Path) -> Path:
    return train(refit_run(before, dataset, folder))


def choices_of(folder: Path) -> Choices:
    return read_choices(open_folder(folder, "model"))


def checkpoint(folder: Path, stage: str) -> dict[str, Any]:
    return open_folder(folder / "training" / stage, "checkpoint").config


def never(*_: object) -> None:
    raise AssertionError("something was chosen again")


@pytest.fixture
def nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (GraphStage, QuantizerStage, RecommenderStage):
        monkeypatch.setattr(stage, "validate", never)
    for name in ("choose_decay", "soften_start"):
        monkeypatch.setattr(recommender, name, never)
    for name in ("join_as_wide", "join_item_ridge"):
        monkeypatch.setattr(tokenizer, name, never)


def test_a_run_says_what_its_validation_chose(
    dataset: Dataset, run_folder: Path, tmp_path: Path
) -> None:
    found = choices_of(run_folder)
    best = [checkpoint(run_folder, name)["best_epoch"] for name in ("graph", "graph-2")]
    assert list(found.tokenizer.encoders) == best
    assert found.tokenizer.quantizer is None
    assert found.tokenizer.width == load_model_folder(run_folder).weights["item_vectors"].shape[1]
    assert found.recommender is not None
    assert found.recommender.epochs == checkpoint(run_folder, "recommender")["best_epoch"]
    # As well where others have trained the encoders, and finished stages are only read.
    run = Run(tmp_path / "a", dataset, small_config(), "test", 0, shared=tmp_path / "shared")
    train(run)
    other = replace(run, folder=tmp_path / "b")
    assert choices_of(train(other)) == choices_of(run.folder) == found
    assert tokenize_run(other, quiet_reporter(tmp_path / "logs")).choices == found.tokenizer


@pytest.mark.usefixtures("nothing_is_chosen")
def test_a_refit_uses_exactly_what_was_chosen(dataset: Dataset, tmp_path: Path) -> None:
    run = Run(tmp_path / "before", dataset, small_config(), "test", 0)
    folder = train(run.refitted(tmp_path / "refit", CHOSEN))
    assert [checkpoint(folder, name)["epoch"] for name in ("graph", "graph-2")] == [2, 3]
    assert checkpoint(folder, "recommender")["epoch"] == 2
    assert choices_of(folder) == CHOSEN
    model = load_model_folder(folder)
    assert model.weights["history_decay"] == pytest.approx(0.6)
    assert model.weights["item_vectors"].shape[1] == 32
    assert Dataset.load(folder / "dataset").histories(Split.TRAIN).item_rows.tolist() == (
        dataset.histories(Split.TRAIN, Split.VALID).item_rows.tolist()
    )
    # Every other choice makes other item vectors.
    for name, value in {"encoders": (2, 4), "ridge_strength": 250.0, "ridge_share": 0.4}.items():
        changed = CHOSEN.tokenizer.model_copy(update={name: value})
        other = run.refitted(tmp_path / name, Choices(tokenizer=changed))
        tokens = tokenize_run(other, quiet_reporter(other.work / "logs"))
        rows = [dataset.items["item"].to_list().index(item) for item in model.items["item"]]
        assert not np.allclose(tokens.item_vectors[rows], model.weights["item_vectors"])


@pytest.mark.usefixtures("nothing_is_chosen")
def test_a_start_that_was_best_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    run = Run(tmp_path / "before", dataset, small_config(), "test", 0)
    folder = train(run.refitted(tmp_path / "refit", with_epochs(0)))
    weights = load_model_folder(folder).weights
    queries = [x for name, x in weights.items() if "query_user" in name]
    assert queries
    for query in queries:
        np.testing.assert_allclose(query, 0.4 * SCALE * np.eye(32), rtol=1e-6)
    again = {name: x.copy() for name, x in weights.items()}
    train(run.refitted(folder, with_epochs(0)))
    assert all(
        np.array_equal(x, again[name]) for name, x in load_model_folder(folder).weights.items()
    )


@pytest.mark.usefixtures("nothing_is_chosen")
def test_a_learned_quantiser_trains_as_long_as_was_best(dataset: Dataset, tmp_path: Path) -> None:
    quantizer = RQVAEConfig(codebook_size=6, semantic_levels=2, latent=4, hidden=16)
    config = small_config().model_copy(update={"quantizer": quantizer})
    tokens = CHOSEN.tokenizer.model_copy(update={"quantizer": 5})
    run = Run(tmp_path / "before", dataset, config, "test", 0)
    again = run.refitted(tmp_path / "refit", Choices(tokenizer=tokens))
    found = tokenize_run(again, quiet_reporter(again.work / "logs"))
    assert found.choices.quantizer == checkpoint(again.folder, "quantizer")["epoch"] == 5


KILLED = """
import os, signal, sys
from pathlib import Path
import mmgrec.training.loop as loop
from mmgrec.data.dataset import Dataset
from mmgrec.training.{module} import {stage}
from mmgrec.training.pipeline import train_run
from mmgrec.training.refit import refit_run
from mmgrec.training.reporter import Reporter
from rich.console import Console
loop.CHECKPOINT_SECONDS = 0.0
batches = {stage}.batches
def die(self, epoch, generator):
    if epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return batches(self, epoch, generator)
{stage}.batches = die
torch = __import__("torch")
torch.set_num_threads(2)
before, data, out = map(Path, sys.argv[1:])
run = refit_run(before, Dataset.load(data), out)
train_run(run, Reporter(Console(quiet=True), run.work / "logs"))
"""


@pytest.fixture(scope="module")
def before(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose recommender is best after two epochs, and its data set."""
    folder = tmp_path_factory.mktemp("before")
    dataset.save(folder / "data")
    train(Run(folder / "run", dataset, small_config(), "test", 0, source=folder / "data"))
    chosen = choices_of(folder / "run").model_copy(
        update={"recommender": with_epochs(2).recommender}
    )
    opened = open_folder(folder / "run", "model")
    writers = {name: write_bytes(opened.file(name).read_bytes()) for name in opened.files}
    writers["choices.json"] = write_json(chosen.model_dump())
    write_folder(folder / "run", "model", opened.config, writers)
    refit(folder / "run", dataset, folder / "refit")
    return folder


@pytest.mark.parametrize(
    ("module", "stage"), [("graph", "GraphStage"), ("recommender", "RecommenderStage")]
)
def test_a_killed_refit_resumes_to_the_same_bytes(
    before: Path, tmp_path: Path, module: str, stage: str
) -> None:
    code = KILLED.format(module=module, stage=stage)
    words = [str(before / "run"), str(before / "data"), str(tmp_path / "run")]
    killed = subprocess.run([sys.executable, "-c", code, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    refit(before / "run", Dataset.load(before / "data"), tmp_path / "run")
    for name in ("model.safetensors", "trie.bin", "choices.json"):
        assert (tmp_path / "run" / name).read_bytes() == (before / "refit" / name).read_bytes()


def test_a_refit_may_have_another_seed(before: Path, tmp_path: Path) -> None:
    run = refit_run(before / "run", Dataset.load(before / "data"), tmp_path, seed=7)
    train(run)
    assert choices_of(tmp_path) == choices_of(before / "refit")
    assert open_folder(tmp_path, "model").config["provenance"]["seed"] == 7
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() != (before / "refit" / name).read_bytes()


def test_what_cannot_be_refitted_says_why(
    before: Path, dataset: Dataset, run_folder: Path, tmp_path: Path
) -> None:
    run = before / "run"
    with pytest.raises(DataError, match="not the data set"):
        refit_run(run, make_dataset(seed=1), tmp_path)
    with pytest.raises(DataError, match="not the data set"):
        refit_run(run, dataset.knowing(Split.VALID), tmp_path)
    with pytest.raises(ConfigError, match="folder of its own"):
        refit_run(run, dataset, run)
    with pytest.raises(ConfigError, match="is a refit itself"):
        refit_run(before / "refit", dataset, tmp_path)
    with pytest.raises(ArtifactError, match="other settings"):
        train(refit_run(run_folder, dataset, before / "run"))


def test_what_an_older_version_left_is_told_apart(before: Path, dataset: Dataset) -> None:
    run = before / "run"
    attempts: dict[Path, Callable[[], object]] = {
        run: lambda: refit_run(run, dataset, before / "never"),
        run / "tokenizer": lambda: train(Run(run, dataset, small_config(), "test", 0)),
    }
    for folder, attempt in attempts.items():
        manifest = folder / "config.json"
        text = manifest.read_text()
        content = json.loads(text)
        content["files"].pop("choices.json", None)
        content["config"].pop("choices", None)
        manifest.write_text(json.dumps(content))
        with pytest.raises(ArtifactError, match=r"(?s)older version of mmgrec.*--restart"):
            attempt()
        manifest.write_text(text)


def test_a_refit_is_measured_on_what_it_has_not_seen(before: Path, dataset: Dataset) -> None:
    known = Dataset.load(before / "refit" / "dataset")
    with pytest.raises(DataError, match=r"(?s)valid split is empty.*refit"):
        HeldOut.of(known, Split.VALID)
    figures = evaluate(known, Split.TEST, Popular(known).fit(Settings(), 0))
    assert figures["refit"]
    assert figures["with_valid"]
    # ItemKNN has settings that were best before, and has learned from validation items too.
    plain = evaluate(dataset, Split.TEST, Popular(dataset).fit(Settings(), 0))
    names = KnnSettings.model_fields
    settings = {name: plain["baselines"]["itemknn"][name] for name in names}
    found = figures["baselines"]["itemknn"]
    assert {name: found[name] for name in names} == settings
    knn = ItemKnn(known).fit(KnnSettings(**settings), 0)
    held_out = HeldOut.of(known, Split.TEST)
    expected = held_out.summary(held_out.rank(knn))
    assert {name: found[name] for name in expected} == expected
    # Nor do other test items change what it is given.
    shuffled = known.interactions.with_columns(
        pl.when(pl.col("split") == int(Split.TEST))
        .then((pl.col("item_row") + 7) % dataset.num_items)
        .otherwise(pl.col("item_row"))
        .cast(pl.Int32)
        .alias("item_row")
    )
    other = evaluate(
        replace(known, interactions=shuffled), Split.TEST, Popular(known).fit(Settings(), 0)
    )
    assert {name: other["baselines"]["itemknn"][name] for name in names} == settings


def test_a_refit_is_reported_on(before: Path) -> None:
    wish = Wish(before / "refit", Split.TEST, data=before / "data", beam_width=10)
    figures = report_figures(wish, lambda _: None)
    assert [row["case"] for row in figures["modalities"]] == ["all modalities", "without visual"]
    assert figures["run"]["data"]["splits"]["valid"] == 0
    before_it = report_figures(replace(wish, run=before / "run"), lambda _: None)
    assert figures["itemknn"] == before_it["itemknn"]


def test_a_data_set_knows_what_it_was(dataset: Dataset) -> None:
    assert dataset.selection is dataset
    known = dataset.knowing(Split.VALID)
    assert known.selection.interactions.equals(dataset.interactions)
    assert known.knowing(Split.VALID).interactions.equals(known.interactions)
