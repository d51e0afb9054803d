"""LightGCN with the published loss, and with ours: what of our quality is the loss alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch_geometric.nn import LightGCN

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Scorer, Settings
from mmgrec.experiments.bpr_mf import sum_of_squares
from mmgrec.experiments.factors import (
    FactorModel,
    FactorSettings,
    Workplace,
    seed_weights,
    train_factors,
    vector_scorer,
)
from mmgrec.training.graph import GraphStage, GraphTraining
from mmgrec.training.loop import LoopConfig
from mmgrec_engine.models.config import GraphEncoderConfig
from mmgrec_engine.models.graph_encoder import Graph, symmetric_product


class LightGcnSettings(FactorSettings):
    """BPR-MF's, and how many layers of propagation."""

    layers: int = Field(default=2, ge=0, le=8)


class LightGcn:
    """LightGCN (He et al., SIGIR 2020) as PyTorch Geometric has it, with the pairwise loss."""

    name: ClassVar[str] = "lightgcn"
    seeded: ClassVar[bool] = True
    settings_type: ClassVar[type[Settings]] = LightGcnSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "layers": (2, 3),
        "learning_rate": (1e-3, 5e-3),
        "l2": (1e-4, 1e-3),
    }

    def __init__(self, dataset: Dataset, work: Workplace) -> None:
        self.dataset, self.work = dataset, work

    def fit(self, settings: LightGcnSettings, seed: int) -> Scorer:
        """Train."""
        seed_weights(self.name, seed)
        model = PropagatedFactors(self.dataset, settings, self.work.device)
        return train_factors(self.name, model, self.dataset, settings, seed, self.work)


class PropagatedFactors(FactorModel):
    """The library's model on the training graph; the penalty is on its embeddings, as published."""

    def __init__(self, dataset: Dataset, settings: LightGcnSettings, device: str) -> None:
        super().__init__()
        self.num_users = dataset.num_users
        nodes = dataset.num_users + dataset.num_items
        # The adjacency is normalised once, here, and not in every layer of every step.
        self.library = LightGCN(nodes, settings.width, settings.layers, normalize=False).to(device)
        history = dataset.histories(Split.TRAIN)
        lengths = torch.from_numpy(history.lengths)
        users = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        items = torch.from_numpy(history.item_rows).long()
        graph = Graph(users, items, dataset.num_users, dataset.num_items, normalise=True)
        self.adjacency = graph.adjacency().to(device)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Propagate: the library's ``get_embedding`` with our product, whose gradient is faster."""
        x = self.library.embedding.weight
        nodes = self.library.alpha[0] * x
        for share in self.library.alpha[1:]:
            x = symmetric_product(self.adjacency, x)
            nodes = nodes + share * x
        return nodes[: self.num_users], nodes[self.num_users :]

    def penalty(self, users: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Sum the squares of the triples' embeddings before propagation."""
        table = self.library.embedding.weight
        items = (positive + self.num_users, negative + self.num_users)
        return sum_of_squares(table[users], table[items[0]], table[items[1]])


class SoftmaxSettings(Settings):
    """Shape and training of our graph encoder without features."""

    width: int = Field(default=64, ge=2)
    layers: int = Field(default=2, ge=0, le=8)
    learning_rate: float = Field(default=5e-3, gt=0)
    temperature: float = Field(default=0.2, gt=0)
    edge_dropout: float = Field(default=0.0, ge=0, lt=1)
    epochs: int = Field(default=150, ge=1)

    @property
    def training(self) -> GraphTraining:
        """Validate every third epoch; stop after eight validations without a new best."""
        loop = LoopConfig(
            epochs=self.epochs, learning_rate=self.learning_rate, validate_every=3, patience=8
        )
        return GraphTraining(
            loop=loop, temperature=self.temperature, edge_dropout=self.edge_dropout
        )


class LightGcnSoftmax:
    """LightGCN with a softmax of cosines over all items: our encoder with free embeddings only."""

    name: ClassVar[str] = "lightgcn-softmax"
    seeded: ClassVar[bool] = True
    settings_type: ClassVar[type[Settings]] = SoftmaxSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "temperature": (0.1, 0.2, 0.3),
        "edge_dropout": (0.0, 0.2),
    }

    def __init__(self, dataset: Dataset, work: Workplace) -> None:
        self.dataset, self.work = dataset.without_features(), work

    def fit(self, settings: SoftmaxSettings, seed: int) -> Scorer:
        """Train."""
        seed_weights(self.name, seed)
        shape = GraphEncoderConfig(width=settings.width, layers=settings.layers)
        stage = GraphStage(self.dataset, shape, settings.training, self.work.device)
        stage.name = self.name
        self.work.train(stage, settings.training.loop, settings, seed)
        return vector_scorer(stage.history, *stage.vectors())
