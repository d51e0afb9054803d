"""Training by two processes, as torchrun starts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import train_script
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.presets import TrainConfig
from mmgrec.training.reporter import Reporter
from mmgrec.training.splitting import SplitLimits, batches_of, split_epoch
from mmgrec_engine.artifact import folder_exists, open_folder
from mmgrec_engine.model_folder import load_model_folder
from mmgrec_engine.writers import read_tensors
from tests_shared import make_dataset, small_config

TOLERANCE = 2e-4
"""Relative, of losses after a few epochs: sums in another order round otherwise, and steps carry it
on."""

# Batches of 16, 16 and 1: of the last one the second process has no share. Dropout draws per
# process, so it is off where losses are compared.
USERS = 33

DIES = 6
"""Epoch before which the second process is killed while it trains an encoder."""


def config(**graph: object) -> TrainConfig:
    made = small_config(dropout=0.0)
    loop = made.recommender_training.loop.model_copy(update={"patience": 10**6})
    training = made.recommender_training.model_copy(update={"loop": loop})
    shape = made.graph.model_copy(update=graph)
    return made.model_copy(update={"graph": shape, "recommender_training": training})


def encoder(loss: str, **graph: object) -> TrainConfig:
    made = config(**graph)
    update = {"loss": loss, "batch_users": 16, "batch_interactions": 64}
    training = made.graph_training.model_copy(update=update)
    return made.model_copy(update={"graph_training": training})


ENCODERS = {
    "three": config(members=3),
    "softmax": encoder("softmax", members=1),
    "bpr": encoder("bpr", members=1, propagation="graphsage"),
}


@pytest.fixture(autouse=True)
def _as_many_threads() -> Iterator[None]:
    """The processes have one each, and sums over threads depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    make_dataset(USERS).save(folder)
    return folder


def torchrun(*words: object) -> tuple[str, int]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(train_script.__file__)]
    done = subprocess.run(
        [*command, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    return done.stdout, done.returncode


def curve(run: Path, stage: str, name: str) -> list[float]:
    events = EventAccumulator(str(run / "training" / "logs" / stage))
    events.Reload()
    return [event.value for event in events.Scalars(f"{stage}/{name}")]


def reporter(run: Run) -> Reporter:
    return Reporter(Console(quiet=True), run.work / "logs")


def vectors(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "tokenizer" / "vectors.safetensors")


def assert_same_files(run: Path, expected: Path) -> None:
    for name in ("vectors", "codebooks", "features"):
        file = Path("tokenizer") / f"{name}.safetensors"
        assert (run / file).read_bytes() == (expected / file).read_bytes(), name
    file = Path("tokenizer") / "rec_ids.parquet"
    assert (run / file).read_bytes() == (expected / file).read_bytes()


def test_killed_and_started_again_two_processes_train_what_one_does(
    data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    file = tmp_path / "config.json"
    file.write_text(config().model_dump_json())
    words = ["train", data, "--out", run, "--config", file, "--device", "cpu"]

    output, code = torchrun("cli", 0, DIES, *words)
    assert code != 0
    assert "SIGKILL" in output
    started = re.findall(r"^process (\d+)$", output, re.MULTILINE)
    assert len(started) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert not folder_exists(run / "tokenizer", "tokenizer")
    assert open_folder(run / "training" / "graph-2", "checkpoint").config["epoch"] == DIES

    output, code = torchrun("cli", DIES, -1, *words)
    assert code == 0, output
    assert output.count("The model is in") == 1
    alone = Run(tmp_path / "one", Dataset.load(data), config(), "test", 0)
    train_run(alone, reporter(alone))
    assert_same_files(run, alone.folder)
    assert len(curve(run, "graph-2", "loss")) == len(curve(alone.folder, "graph-2", "loss")) > DIES
    for name in ("loss", "validation"):
        expected = curve(alone.folder, "recommender", name)
        assert len(expected) == (4 if name == "loss" else 5)  # the start is validated as well
        # A validation that counts a near tie otherwise may differ by more than rounding does.
        tolerance = TOLERANCE if name == "loss" else 0.02
        assert np.allclose(curve(run, "recommender", name), expected, rtol=tolerance), name
    weights = [load_model_folder(folder).weights for folder in (run, alone.folder)]
    for name, value in weights[1].items():
        assert np.allclose(weights[0][name], value, atol=5e-3), name


def test_encoders_are_dealt_out_and_a_single_one_is_shared(data: Path, tmp_path: Path) -> None:
    files = []
    for name, settings in ENCODERS.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(settings.model_dump_json())
    output, code = torchrun("tokenize", data, tmp_path / "two", *files)
    assert code == 0, output
    for name, settings in ENCODERS.items():
        alone = Run(tmp_path / "one" / name, Dataset.load(data), settings, "test", 0)
        tokenize_run(alone, reporter(alone))
        two = tmp_path / "two" / name
        if name == "three":
            assert_same_files(two, alone.folder)
            continue
        expected = curve(alone.folder, "graph", "loss")
        assert len(expected) == 15
        assert np.allclose(curve(two, "graph", "loss"), expected, rtol=TOLERANCE), name
        for part, value in vectors(alone.folder).items():
            assert torch.allclose(vectors(two)[part], value, atol=5e-3), (name, part)


def test_shares_of_a_batch_are_the_batch() -> None:
    dataset = make_dataset(USERS)
    history = dataset.histories(Split.TRAIN)
    generator = torch.Generator().manual_seed(0)
    limits = SplitLimits((0.1, 0.5), 64, 32)
    split = split_epoch(history.offsets, history.item_rows.astype(np.int64), limits, generator)
    for batch in batches_of(split, 16, generator):
        shares = [batch.share(rank, 3) for rank in range(3)]
        seen = torch.cat([share.users for share in shares[: len(batch.users)]])
        assert sorted(seen.tolist()) == sorted(batch.users.tolist())
        targets = sum(int(share.valid.sum()) for share in shares[: len(batch.users)])
        assert targets == int(batch.valid.sum())
        assert batch.share(0, 1) is batch
