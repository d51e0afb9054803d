"""The training loop of every stage: warm-up, clipping, validation, early stopping, resume."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmgrec.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trained_state
from mmgrec.training.distributed import ALONE, Processes
from mmgrec.training.reporter import Reporter
from mmgrec_engine.errors import DataError

CHECKPOINT_SECONDS = 5.0
"""Least time between checkpoints: bounds both what a kill can cost and what writing costs."""


class LoopConfig(BaseModel):
    """How long and how fast a stage trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=1, ge=1)
    patience: int = Field(default=10, ge=1)
    """Validations without a new best after which the stage stops."""
    validate_start: bool = False
    """Whether the weights that training starts from may turn out to be the best."""


class Stage(Protocol):
    """What the loop trains."""

    name: str

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of every batch of an epoch; the loop steps after each."""
        ...

    def validate(self) -> float | None:
        """Return the score to maximise, or None when there is nothing to validate on."""
        ...


def run_stage(
    stage: Stage,
    config: LoopConfig,
    *,
    folder: Path,
    fingerprint: str,
    seed: int,
    report: Reporter,
    processes: Processes = ALONE,
    epochs: int | None = None,
) -> Progress:
    """Train a stage to the end and leave its best weights in ``stage.model``.

    ::

        resume from the checkpoint, if there is one; otherwise, if asked for, validate the start
        for every epoch: seed everything from (seed, stage, epoch); train; validate; checkpoint
        stop after `patience` validations without a new best; load the best weights
        of several processes that share a stage's batches the first alone writes checkpoints

    With ``epochs`` exactly so many are trained, 0 or more, and nothing is validated.

    Raises
    ------
    DataError
        The loss became NaN or infinite.
    """
    optimizer = torch.optim.AdamW(
        stage.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    restored = load_checkpoint(folder, fingerprint, stage.model, optimizer)
    progress, best = restored or (Progress(), trained_state(stage.model))
    saved_at = time.monotonic()
    choosing, last = epochs is None, config.epochs if epochs is None else epochs
    with report.stage(stage.name, last, progress.epoch, progress.best_score) as bar:
        if config.validate_start and choosing and progress.epoch == 0:
            best = _note_score(stage, progress, stage.validate(), best)
            bar.start(progress.best_score)
        if last == 0:
            progress.finished = True
            if processes.first:
                save_checkpoint(folder, fingerprint, progress, stage.model, optimizer, best)
        while not progress.finished:
            loss = _train_epoch(stage, config, optimizer, progress, seed, processes)
            progress.epoch += 1
            validating = choosing and progress.epoch % config.validate_every == 0
            score = stage.validate() if validating else None
            best = _note_score(stage, progress, score, best)
            bar.epoch(progress.epoch, loss, score)
            out_of_patience = progress.stale >= config.patience
            progress.finished = out_of_patience or progress.epoch >= last
            due = progress.finished or time.monotonic() - saved_at > CHECKPOINT_SECONDS
            if due and processes.first:
                save_checkpoint(folder, fingerprint, progress, stage.model, optimizer, best)
                saved_at = time.monotonic()
        bar.finish()
    stage.model.load_state_dict(
        best if progress.best_epoch >= 0 else trained_state(stage.model), strict=False
    )
    stage.model.eval()
    return progress


def _train_epoch(
    stage: Stage,
    config: LoopConfig,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    seed: int,
    processes: Processes,
) -> float:
    generator = epoch_generator(seed, stage.name, progress.epoch)
    if not processes.first:
        torch.manual_seed(torch.initial_seed() + processes.rank)  # dropout of other users
    stage.model.train()
    total, count = 0.0, 0
    for loss in stage.batches(progress.epoch, generator):
        if not torch.isfinite(loss):
            raise DataError(
                f"{stage.name}: the loss is not finite in epoch {progress.epoch}",
                value=float(loss.detach()),
                remedy="lower the learning rate, or look for extreme values in the features",
            )
        progress.step += 1
        warmup = min(1.0, progress.step / config.warmup_steps) if config.warmup_steps else 1.0
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stage.model.parameters(), config.clip_norm)
        optimizer.step()
        total, count = total + float(loss.detach()), count + 1
    # A process has the loss of its share, scaled so that the mean is that of the whole batch.
    return processes.total(total)[0] / processes.count / max(count, 1)


def _note_score(
    stage: Stage, progress: Progress, score: float | None, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    if score is None:
        return best
    if score > progress.best_score:
        progress.best_score, progress.best_epoch, progress.stale = score, progress.epoch, 0
        return trained_state(stage.model)
    progress.stale += 1
    return best


def epoch_generator(seed: int, name: str, epoch: int) -> torch.Generator:
    """Seed torch's global generator (dropout) and return one for sampling, from the epoch alone."""
    digest = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    value = int.from_bytes(digest[:7], "little")
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value + 1)
