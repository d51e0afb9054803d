"""A small trained run that several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Read when kernels are decorated, so it must be set before any test imports one.
    os.environ["TRITON_INTERPRET"] = "1"

from mmgrec.data.dataset import Dataset
from mmgrec.training.pipeline import Run, train_run
from tests_shared import make_dataset, quiet_reporter, small_config

# Sums over threads depend on their number; the same number everywhere makes runs comparable.
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The toy data set."""
    return make_dataset()


@pytest.fixture(scope="session")
def run_folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run."""
    folder = tmp_path_factory.mktemp("run") / "toy"
    run = Run(folder, dataset, small_config(), "test", 0)
    train_run(run, quiet_reporter(run.work / "logs"))
    return folder
