"""Training by two processes, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.pipeline import Run, train_run
from mmgrec.training.presets import TrainConfig
from mmgrec.training.reporter import Reporter
from mmgrec.training.splitting import Batch, SplitLimits, batches_of, split_epoch
from mmgrec_engine.artifact import sha256_of
from mmgrec_engine.model_folder import load_model_folder
from tests_shared import make_dataset, small_config

TOLERANCE = 2e-4
"""Relative, of losses after a few epochs: sums in another order round otherwise, and steps carry it
on."""

# Batches of 16, 16 and 1: of the last one the second process has no share. Dropout draws per
# process, so it is off where losses are compared.
USERS = 33


def config(epochs: int = 4) -> TrainConfig:
    made = small_config(dropout=0.0)
    loop = made.recommender_training.loop.model_copy(update={"epochs": epochs, "patience": 10**6})
    training = made.recommender_training.model_copy(update={"loop": loop})
    return made.model_copy(update={"recommender_training": training})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    make_dataset(USERS).save(folder)
    return folder


def torchrun(data: Path, out: Path, settings: TrainConfig) -> subprocess.Popen[str]:
    out.parent.mkdir(exist_ok=True)
    file = out.parent / "config.json"
    file.write_text(settings.model_dump_json())
    words = ["-m", "mmgrec", "train", data, "--out", out, "--config", file, "--device", "cpu"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*command, "--nproc-per-node", "2", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )


def curve(run: Path, name: str) -> list[float]:
    events = EventAccumulator(str(run / "training" / "logs" / "recommender"))
    events.Reload()
    return [event.value for event in events.Scalars(f"recommender/{name}")]


def test_two_processes_have_the_losses_of_one(data: Path, tmp_path: Path) -> None:
    process = torchrun(data, tmp_path / "two" / "run", config())
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    assert output.count("The model is in") == 1
    alone = Run(tmp_path / "one", Dataset.load(data), config(), "test", 0)
    train_run(alone, Reporter(Console(quiet=True), alone.work / "logs"))
    two = tmp_path / "two" / "run"
    for name in ("loss", "validation"):
        expected = curve(alone.folder, name)
        assert len(expected) == (4 if name == "loss" else 5)  # the start is validated as well
        # A validation that counts a near tie otherwise may differ by more than rounding does.
        tolerance = TOLERANCE if name == "loss" else 0.02
        assert np.allclose(curve(two, name), expected, rtol=tolerance), name
    rec_ids = [
        sha256_of(folder / "tokenizer" / "rec_ids.parquet") for folder in (two, alone.folder)
    ]
    assert rec_ids[0] == rec_ids[1]
    weights = [load_model_folder(folder).weights for folder in (two, alone.folder)]
    for name, value in weights[1].items():
        assert np.allclose(weights[0][name], value, atol=5e-3), name


def ranks(process: subprocess.Popen[str]) -> dict[str, int]:
    """Processes that torchrun has started, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            pairs = (folder / "environ").read_bytes().decode().split("\0")
        except OSError:  # has ended, or is another user's
            continue
        if parent == str(process.pid):
            found |= {p[5:]: int(folder.name) for p in pairs if p.startswith("RANK=")}
    return found


def test_a_killed_process_ends_the_others_and_says_so(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "two" / "run"
    process = torchrun(data, run, config(epochs=10**6))
    logs = run / "training" / "logs" / "recommender"
    while not logs.exists() and process.poll() is None:
        time.sleep(0.05)
    started = ranks(process)
    assert set(started) == {"0", "1"}
    os.kill(started["1"], signal.SIGKILL)
    output, _ = process.communicate(timeout=250)
    assert process.returncode != 0
    assert "SIGKILL" in output
    assert not (run / "config.json").exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in started.values())


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
        assert isinstance(batch.share(0, 1), Batch)
