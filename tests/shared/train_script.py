"""What torchrun starts in tests of training by several processes.

cli FIRST DIES WORDS ...      `mmgrec WORDS ...` with a checkpoint after every epoch; whoever
                              trains graph-2 kills itself before epoch DIES, and fails where it
                              is to train an epoch before FIRST
tokenize DATA OUT CONFIG ...  tokenises by every configuration, into OUT/NAME of CONFIG
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

import mmgrec.training.loop as loop
from mmgrec.cli.main import main
from mmgrec.data.dataset import Dataset
from mmgrec.training.distributed import joined
from mmgrec.training.graph import GraphStage
from mmgrec.training.pipeline import Run, tokenize_run
from mmgrec.training.presets import load_config
from mmgrec.training.reporter import Reporter


def _cli(first: str, dies: str, *words: str) -> None:
    batches = GraphStage.batches

    def watched(stage: GraphStage, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        if stage.name == "graph-2":
            if epoch == int(dies):
                os.kill(os.getpid(), signal.SIGKILL)
            assert epoch >= int(first), "trained again from the start"
        return batches(stage, epoch, generator)

    GraphStage.batches = watched  # type: ignore[method-assign]
    loop.CHECKPOINT_SECONDS = 0.0
    print(f"process {os.getpid()}", flush=True)
    sys.argv[1:] = words
    main()


def _tokenize(data: str, out: str, *configs: str) -> None:
    with joined("cpu") as processes:
        for path in map(Path, configs):
            folder = Path(out) / path.stem
            settings = load_config(path.read_text())
            run = Run(folder, Dataset.load(Path(data)), settings, "test", 0, processes=processes)
            logs = run.work / "logs" if processes.first else None
            tokenize_run(run, Reporter(Console(quiet=True), logs))


if __name__ == "__main__":
    {"cli": _cli, "tokenize": _tokenize}[sys.argv[1]](*sys.argv[2:])
