"""The whole of training on a toy data set: artifact, kill and resume, presets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.training.pipeline import Run, restart_run, tokenize_run, train_run
from mmgrec.training.presets import TrainConfig
from mmgrec_engine.artifact import folder_exists
from mmgrec_engine.errors import ArtifactError, DataError
from mmgrec_engine.model_folder import load_model_folder
from mmgrec_engine.models.rqvae import RQVAEConfig
from tests_shared import make_dataset, quiet_reporter, small_config


def test_artifact_holds_what_was_trained(dataset: Dataset, run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    assert folder.items["item"].sort().to_list() == dataset.items["item"].sort().to_list()
    codes = folder.items.select(pl.selectors.starts_with("token_")).to_numpy()
    assert np.array_equal(codes, folder.trie.codes())
    counts = np.bincount(dataset.histories(Split.TRAIN).item_rows, minlength=dataset.num_items)
    popularity = dict(zip(dataset.items["item"], counts.tolist(), strict=True))
    assert dict(zip(folder.items["item"], folder.items["popularity"], strict=True)) == popularity
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert 0 <= metrics["validation_ndcg@20"] <= 1
    assert metrics["rec_ids"]["num_items"] == dataset.num_items


def test_training_is_reproducible(dataset: Dataset, run_folder: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "again", dataset, small_config(), "test", 0)
    train_run(run, quiet_reporter(run.work / "logs"))
    first, second = (load_model_folder(p).weights for p in (run_folder, run.folder))
    assert all(np.array_equal(first[name], second[name]) for name in first)


KILLED = """
import os, signal, sys
from pathlib import Path
import mmgrec.training.loop as loop
from mmgrec.training.recommender import RecommenderStage
from mmgrec.data.dataset import Dataset
from mmgrec.training.pipeline import Run, train_run
from mmgrec.training.presets import load_config
from mmgrec.training.reporter import Reporter
from rich.console import Console
loop.CHECKPOINT_SECONDS = 0.0
validate = RecommenderStage.validate
calls = []
def die(self):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return validate(self)
RecommenderStage.validate = die
torch = __import__("torch")
torch.set_num_threads(2)
run = Run(Path(sys.argv[1]), Dataset.load(Path(sys.argv[2])), load_config(sys.argv[3]), "test", 0)
train_run(run, Reporter(Console(quiet=True), run.work / "logs"))
"""


def test_killed_training_resumes_to_the_same_weights(
    dataset: Dataset, run_folder: Path, tmp_path: Path
) -> None:
    dataset.save(tmp_path / "data")
    config = small_config().model_dump_json()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(tmp_path / "data"), config],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not folder_exists(tmp_path / "run", "model")
    run = Run(tmp_path / "run", Dataset.load(tmp_path / "data"), small_config(), "test", 0)
    train_run(run, quiet_reporter(run.work / "logs"))
    first, second = (load_model_folder(p).weights for p in (run_folder, run.folder))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def _with_codes(config: TrainConfig, size: int) -> TrainConfig:
    quantizer = config.quantizer.model_copy(update={"codebook_size": size})
    return config.model_copy(update={"quantizer": quantizer})


def test_finished_tokeniser_is_read_back(dataset: Dataset, run_folder: Path) -> None:
    run = Run(run_folder, dataset, small_config(), "test", 0)
    tokens = tokenize_run(run, quiet_reporter(run.work / "logs"))
    table = pl.read_parquet(run_folder / "tokenizer" / "rec_ids.parquet")
    assert table["item"].to_list() == dataset.items["item"].to_list()
    assert tokens.level_sizes[:2] == [6, 6]
    assert len(np.unique(tokens.rec_ids, axis=0)) == dataset.num_items


def test_runs_that_differ_behind_the_encoders_share_them(dataset: Dataset, tmp_path: Path) -> None:
    config = small_config()
    shared = tmp_path / "encoders"
    runs = [
        Run(tmp_path / "one", dataset, config, "test", 0, shared=shared),
        Run(tmp_path / "two", dataset, _with_codes(config, 4), "test", 0, shared=shared),
        Run(tmp_path / "seed", dataset, config, "test", 1, shared=shared),
    ]
    found = []
    for run in runs:
        tokens = tokenize_run(run, quiet_reporter(run.work / "logs"))
        checkpoint = run.encoders / "graph"
        made = (checkpoint / "best.safetensors").stat().st_mtime_ns
        found.append((tokens.level_sizes[:2], checkpoint, made))
    one, two, other_seed = found
    assert (one[0], two[0]) == ([6, 6], [4, 4])
    assert one[1:] == two[1:]  # not trained again
    assert other_seed[1] != one[1]


@pytest.mark.parametrize("change", ["seed", "data", "config"])
def test_other_inputs_are_refused_until_restart(
    dataset: Dataset, run_folder: Path, change: str, tmp_path: Path
) -> None:
    other = Run(
        run_folder,
        make_dataset(seed=1) if change == "data" else dataset,
        small_config(dropout=0.3) if change == "config" else small_config(),
        "test",
        1 if change == "seed" else 0,
    )
    with pytest.raises(ArtifactError, match="--restart"):
        train_run(other, quiet_reporter(tmp_path))


def test_restart_forgets_stages(tmp_path: Path) -> None:
    for name in ("tokenizer", "training"):
        (tmp_path / name).mkdir()
    restart_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("update", ["ema", "loss"])
def test_learned_quantiser_and_the_papers_options(update: str, tmp_path: Path) -> None:
    config = small_config(user_vector="graph", normalise="full", node_vectors=False).model_copy(
        update={
            "quantizer": RQVAEConfig(
                codebook_size=6,
                semantic_levels=2,
                latent=4,
                hidden=16,
                codebook_update=update,  # type: ignore[arg-type]
            )
        }
    )
    data = make_dataset(strings=False)
    run = Run(tmp_path / "run", data, config, "test", 0)
    train_run(run, quiet_reporter(run.work / "logs"))
    folder = load_model_folder(run.folder)
    assert folder.users is not None
    assert folder.users.to_list() == data.users["user"].to_list()


def test_modalities_are_optional_and_may_be_many(tmp_path: Path) -> None:
    data = make_dataset(30, 20)
    for count in (0, 3):
        values = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        modality = Modality(values, np.ones(20, bool))
        modalities = {f"m{i}": modality for i in range(count)}
        made = Dataset(data.name, data.users, data.items, data.interactions, modalities)
        run = Run(tmp_path / str(count), made, small_config(), "test", 0)
        assert tokenize_run(run, quiet_reporter(run.work / "logs")).rec_ids.shape == (20, 3)


def test_no_training_interactions_is_an_error(tmp_path: Path) -> None:
    data = make_dataset(5, 16)
    empty = data.interactions.with_columns(pl.lit(2, pl.Int8).alias("split"))
    bare = Dataset(data.name, data.users, data.items, empty, {})
    run = Run(tmp_path, bare, small_config(), "test", 0)
    with pytest.raises(DataError, match="no training interactions"):
        train_run(run, quiet_reporter(tmp_path / "logs"))
