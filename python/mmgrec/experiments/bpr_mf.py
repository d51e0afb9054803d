"""BPR-MF: matrix factorisation with the pairwise loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmgrec.data.dataset import Dataset
from mmgrec.evaluation.baselines import Scorer, Settings
from mmgrec.experiments.factors import (
    FactorModel,
    FactorSettings,
    Workplace,
    seed_weights,
    train_factors,
)


class BprMf:
    """BPR-MF (Rendle et al., "BPR: Bayesian Personalized Ranking", UAI 2009)."""

    name: ClassVar[str] = "bpr-mf"
    seeded: ClassVar[bool] = True
    settings_type: ClassVar[type[Settings]] = FactorSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "learning_rate": (1e-3, 5e-3),
        "l2": (1e-4, 1e-3, 1e-2),
    }

    def __init__(self, dataset: Dataset, work: Workplace) -> None:
        self.dataset, self.work = dataset, work

    def fit(self, settings: FactorSettings, seed: int) -> Scorer:
        """Train."""
        seed_weights(self.name, seed)
        model = Factors(self.dataset.num_users, self.dataset.num_items, settings.width)
        return train_factors(self.name, model, self.dataset, settings, seed, self.work)


class Factors(FactorModel):
    """A vector per user and item, and a bias per item."""

    def __init__(self, num_users: int, num_items: int, width: int) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.randn(num_users, width) * 0.1)
        self.items = nn.Parameter(torch.randn(num_items, width) * 0.1)
        self.bias = nn.Parameter(torch.zeros(num_items, 1))

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors; the bias is one more column beside a one of every user."""
        one = torch.ones(len(self.users), 1, device=self.users.device)
        return torch.cat([self.users, one], 1), torch.cat([self.items, self.bias], 1)

    def penalty(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Sum the squares of the triples' vectors and biases."""
        items = torch.cat([self.items, self.bias], 1)
        return sum_of_squares(self.users[users], items[positive], items[negative])


def sum_of_squares(*parts: Tensor) -> Tensor:
    """Return the sum of squares of all entries."""
    return torch.stack([part.square().sum() for part in parts]).sum()
