"""Models whose score is a dot product of a user's and an item's vector, trained with BPR."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from torch import Tensor, nn

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories, spread
from mmgrec.evaluation.baselines import MatrixScorer, Rows, Settings
from mmgrec.training.loop import LoopConfig, Stage, epoch_generator, run_stage
from mmgrec.training.reporter import Reporter
from mmgrec.training.validation import ndcg_at

VALIDATION_USERS = 2048
VALIDATION_K = 20
BATCH_INTERACTIONS = 2048


@dataclass(frozen=True)
class Workplace:
    """Where and how trained baselines train: checkpoints of every point, progress, device."""

    folder: Path
    fingerprint: str
    console: Console
    device: str = "cpu"

    def point(self, settings: Settings, seed: int) -> Path:
        """Return the checkpoint folder of one point of a grid."""
        values = settings.model_dump().items()
        return self.folder / f"seed{seed}" / "_".join(f"{name}={value}" for name, value in values)

    def train(self, stage: Stage, loop: LoopConfig, settings: Settings, seed: int) -> None:
        """Train to the best validation NDCG@20, resuming where an earlier call was killed."""
        folder = self.point(settings, seed)
        run_stage(
            stage,
            loop,
            folder=folder,
            fingerprint=f"{self.fingerprint}/{settings.model_dump_json()}/{seed}",
            seed=seed,
            report=Reporter(self.console, folder / "logs"),
        )


class FactorSettings(Settings):
    """Width, learning rate, L2 penalty per interaction of a batch, and epochs at most."""

    width: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    l2: float = Field(default=1e-4, ge=0)
    epochs: int = Field(default=300, ge=1)

    @property
    def loop(self) -> LoopConfig:
        """Validate every third epoch; stop after ten validations without a new best."""
        return LoopConfig(
            epochs=self.epochs, learning_rate=self.learning_rate, validate_every=3, patience=10
        )


class FactorModel(nn.Module, ABC):
    """Users and items as vectors."""

    @abstractmethod
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return user vectors ``[U, D]`` and item vectors ``[N, D]``, differentiable."""

    @abstractmethod
    def penalty(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the sum of squares of the parameters that these triples of rows stand on."""


class BprStage:
    """A factor model as a stage of the training loop.

    ::

        per interaction (u, i) of a shuffled batch: j = random item that u does not have
        loss = mean of -log sigmoid(u . i - u . j) + l2 * penalty / interactions in the batch
    """

    def __init__(
        self, name: str, model: FactorModel, dataset: Dataset, settings: FactorSettings
    ) -> None:
        self.name, self.model, self.settings = name, model, settings
        self.history = dataset.histories(Split.TRAIN)
        self.relevant = dataset.histories(Split.VALID)
        self.num_items = dataset.num_items
        lengths = torch.from_numpy(self.history.lengths)
        self.user_rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        self.item_rows = torch.from_numpy(self.history.item_rows.astype(np.int64))
        self.pairs = (self.user_rows * self.num_items + self.item_rows).sort().values

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield batch losses."""
        order = torch.randperm(len(self.user_rows), generator=generator)
        for chosen in torch.split(order, BATCH_INTERACTIONS):
            user, positive = self.user_rows[chosen], self.item_rows[chosen]
            negative = self.negatives(user, generator)
            users, items = self.model.vectors()
            margin = (users[user] * (items[positive] - items[negative])).sum(1)
            penalty = self.model.penalty(user, positive, negative) / len(chosen)
            yield -F.logsigmoid(margin).mean() + self.settings.l2 * penalty

    def validate(self) -> float | None:
        """NDCG@20 on validation users (at most 2,048)."""
        rows = spread(np.flatnonzero(self.relevant.lengths), VALIDATION_USERS)
        if len(rows) == 0:
            return None
        top = vector_scorer(self.history, *self.vectors()).rank(rows, VALIDATION_K)
        return ndcg_at(top, self.relevant, rows)

    @torch.no_grad()
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return user and item vectors on the CPU."""
        self.model.eval()
        users, items = self.model.vectors()
        return users.cpu(), items.cpu()

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one item per user row that the user does not have."""
        drawn = torch.randint(self.num_items, (len(users),), generator=generator)
        for _ in range(10):  # who has nearly everything keeps a positive now and then
            key = users * self.num_items + drawn
            place = torch.searchsorted(self.pairs, key).clamp_max(len(self.pairs) - 1)
            wrong = torch.nonzero(self.pairs[place] == key).squeeze(1)
            if len(wrong) == 0:
                break
            drawn[wrong] = torch.randint(self.num_items, (len(wrong),), generator=generator)
        return drawn


def seed_weights(name: str, seed: int) -> None:
    """Seed the initial weights of a model, which is made next."""
    epoch_generator(seed, f"initial {name} weights", 0)


def train_factors(
    name: str,
    model: FactorModel,
    dataset: Dataset,
    settings: FactorSettings,
    seed: int,
    work: Workplace,
) -> MatrixScorer:
    """Train a factor model and return its scorer."""
    stage = BprStage(name, model.to(work.device), dataset, settings)
    work.train(stage, settings.loop, settings, seed)
    return vector_scorer(stage.history, *stage.vectors())


def vector_scorer(history: Histories, users: Tensor, items: Tensor) -> MatrixScorer:
    """Return the scorer by dot product of vectors ``[U, D]`` and ``[N, D]``."""
    by_row: NDArray[np.float32] = users.numpy()
    transposed = items.numpy().T

    def score(rows: Rows) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = by_row[rows] @ transposed
        return scores

    return MatrixScorer(history, score)
