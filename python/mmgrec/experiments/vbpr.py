"""VBPR: BPR-MF whose items also have a learned projection of their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmgrec.data.dataset import Dataset
from mmgrec.evaluation.baselines import Scorer, Settings
from mmgrec.experiments.bpr_mf import Factors, sum_of_squares
from mmgrec.experiments.factors import (
    FactorModel,
    FactorSettings,
    Workplace,
    seed_weights,
    train_factors,
)
from mmgrec_engine.errors import DataError


class Vbpr:
    """VBPR (He and McAuley, "VBPR: Visual Bayesian Personalized Ranking", AAAI 2016).

    All modalities side by side take the place of the paper's visual features.
    """

    name: ClassVar[str] = "vbpr"
    seeded: ClassVar[bool] = True
    settings_type: ClassVar[type[Settings]] = FactorSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "learning_rate": (1e-3, 5e-3),
        "l2": (1e-4, 1e-3, 1e-2),
    }

    def __init__(self, dataset: Dataset, work: Workplace) -> None:
        self.check(dataset)
        self.dataset, self.work = dataset, work
        self.features = standardised(dataset).to(work.device)

    @staticmethod
    def check(dataset: Dataset) -> None:
        """Raise `DataError` where there are no features."""
        if not dataset.modalities:
            raise DataError(
                "VBPR needs features, and the data set has no modality",
                value=dataset.name,
                remedy='leave "vbpr" out of the baselines',
            )

    def fit(self, settings: FactorSettings, seed: int) -> Scorer:
        """Train."""
        seed_weights(self.name, seed)
        model = VisualFactors(self.dataset.num_users, self.features, settings.width)
        return train_factors(self.name, model, self.dataset, settings, seed, self.work)


class VisualFactors(FactorModel):
    """Half of the width is free, half is features.

    ::

        score(u, i) = p_u . q_i + b_i  +  t_u . (E f_i) + beta . f_i
    """

    frozen_buffers = frozenset({"features"})

    def __init__(self, num_users: int, features: Tensor, width: int) -> None:
        super().__init__()
        shown = max(width // 2, 1)
        self.free = Factors(num_users, len(features), max(width - shown, 1))
        self.users = nn.Parameter(torch.randn(num_users, shown) * 0.1)
        self.project = nn.Linear(features.shape[1], shown, bias=False)
        self.bias = nn.Linear(features.shape[1], 1, bias=False)
        self.register_buffer("features", features)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return ``[p, 1, t, 1]`` of users and ``[q, b, E f, beta f]`` of items."""
        users, items = self.free.vectors()
        one = torch.ones(len(users), 1, device=users.device)
        shown = self.project(self.features), self.bias(self.features)
        return torch.cat([users, self.users, one], 1), torch.cat([items, *shown], 1)

    def penalty(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Sum the squares of the triples' free parameters and, once, of the projection."""
        free = self.free.penalty(users, positive, negative)
        return free + sum_of_squares(self.users[users], self.project.weight, self.bias.weight)


def standardised(dataset: Dataset) -> Tensor:
    """Return all modalities side by side ``[N, D]``, columns standardised, zeros where missing."""
    parts = []
    for _, modality in sorted(dataset.modalities.items()):
        values, present = modality.values.astype(np.float64), modality.present
        shown = values[present] if present.any() else values
        scaled = (values - shown.mean(0)) / np.maximum(shown.std(0), 1e-6)
        parts.append(np.where(present[:, None], scaled, 0.0))
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
