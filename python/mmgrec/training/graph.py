"""Training of the graph encoder: user and item vectors from interactions and modalities."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.distributed import ALONE, Processes
from mmgrec.training.loop import LoopConfig
from mmgrec.training.similar_items import similar_items
from mmgrec.training.softmax_loss import weighted_log_sum_exp
from mmgrec.training.validation import dense_ndcg
from mmgrec_engine.models.config import GraphEncoderConfig
from mmgrec_engine.models.graph_encoder import Graph, GraphEncoder

VALIDATION_USERS = 2048


class GraphTraining(BaseModel):
    """Loss and loop of the graph encoder.

    ``loss="softmax"``: cross-entropy over all items of cosine / temperature, every interaction with
    weight 1. ``loss="bpr"``: the paper's pairwise loss, one negative per interaction, drawn afresh.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: LoopConfig
    loss: Literal["softmax", "bpr"] = "softmax"
    temperature: float = Field(default=0.2, gt=0)
    batch_users: int = Field(default=512, ge=1)
    batch_interactions: int = Field(default=2048, ge=1)
    edge_dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def score_scale(self) -> float:
        """What training multiplied dot products by: 1 / temperature, or 1 for the pairwise loss."""
        return 1 / self.temperature if self.loss == "softmax" else 1.0

    @property
    def unit_vectors(self) -> bool:
        """Whether vectors are scaled to length 1 after training: where it compared cosines."""
        return self.loss == "softmax"


class GraphStage:
    """The graph encoder as a stage of the training loop.

    Parameters
    ----------
    dataset : Dataset
        Only its training interactions are edges and targets.
    shape, training : GraphEncoderConfig, GraphTraining
        What to train and how.
    device : str
        Where the model trains. Edges and targets are drawn on the CPU.
    processes : Processes
        That share its batches. Each propagates over the whole graph.
    """

    def __init__(
        self,
        dataset: Dataset,
        shape: GraphEncoderConfig,
        training: GraphTraining,
        device: str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        self.name = "graph"
        self.processes = processes
        self.shape, self.training, self.device = shape, training, device
        self.features, self.present = modality_tensors(dataset, device)
        self.history = dataset.histories(Split.TRAIN)
        self.relevant = dataset.histories(Split.VALID)
        lengths = torch.from_numpy(self.history.lengths)
        self.user_rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        self.item_rows = torch.from_numpy(self.history.item_rows.astype(np.int64))
        self.sizes = (dataset.num_users, dataset.num_items)
        self._begin_untrained()
        self.graph = Graph(
            self.user_rows, self.item_rows, *self.sizes, normalise=shape.propagation == "lightgcn"
        )
        self.adjacency = self.graph.adjacency().to(device)
        self.similar: Tensor | None = None
        if shape.neighbours and self.model.fusion is not None:
            features, present = modality_tensors(dataset)
            self.similar = similar_items(features, present, shape.neighbours).to(device)

    def another(self, member: int) -> GraphStage:
        """Return the stage of an ensemble's next member: the same graph, an untrained encoder.

        Everything random of it depends on its name, and its weights on torch's generator now.
        """
        stage = copy(self)
        stage.name = f"graph-{member + 1}"
        stage._begin_untrained()
        return stage

    def _begin_untrained(self) -> None:
        widths = {name: values.shape[1] for name, values in self.features.items()}
        self.model = GraphEncoder(self.shape, *self.sizes, widths).to(self.device)
        if self.model.fusion is not None:
            self.model.fusion.fit(self.features, self.present)
        self._shared = self.processes.parallel(self.model)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield batch losses; edges are dropped afresh each epoch."""
        adjacency = self.adjacency
        if self.training.edge_dropout:
            draw = torch.rand(len(self.user_rows), generator=generator)
            adjacency = self.graph.adjacency(draw >= self.training.edge_dropout).to(self.device)
        if self.training.loss == "softmax":
            yield from self._softmax_batches(adjacency, generator)
        else:
            yield from self._bpr_batches(adjacency, generator)

    @torch.no_grad()
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return user and item vectors on the CPU, of unit length if training compared cosines."""
        self.model.eval()
        users, items = self._encode(self.model, self.adjacency)
        if self.training.unit_vectors:
            users, items = F.normalize(users, dim=1), F.normalize(items, dim=1)
        return users.cpu(), items.cpu()

    @torch.no_grad()
    def validate(self) -> float | None:
        """NDCG@20 of the dot products on validation users (at most 2,048)."""
        score = dense_ndcg(*self.vectors(), self.history, self.relevant, VALIDATION_USERS)
        if score is None:
            return None
        # The same everywhere, unless processors differ; all have to agree when to stop.
        return self.processes.total(score)[0] / self.processes.count

    def _encode(self, model: nn.Module, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        users, items = model(self.features, self.present, adjacency, self.similar)
        return users, items

    def _mean(self, total: Tensor, count: int) -> Tensor:
        """Divide an own sum such that the mean over the processes is that of all their terms."""
        return total / count * self.processes.count

    def _softmax_batches(self, adjacency: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        lengths = torch.from_numpy(self.history.lengths)
        offsets = torch.from_numpy(self.history.offsets)
        order = torch.randperm(len(lengths), generator=generator)
        for rows in torch.split(order[lengths[order] > 0], self.training.batch_users):
            own = self.processes.share(rows)
            users, items = self._encode(self._shared, adjacency)
            users, items = F.normalize(users[own], dim=1), F.normalize(items, dim=1)
            # All interactions of a user share one log-sum-exp, so a user costs one row of logits.
            count = lengths[own]
            owner = torch.repeat_interleave(torch.arange(len(own)), count)
            within = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
            positive = self.item_rows[offsets[own][owner] + within]
            scale = 1 / self.training.temperature
            spread_out = weighted_log_sum_exp(users, items, count.to(users), scale)
            total = spread_out - scale * (users[owner] * items[positive]).sum()
            yield self._mean(total, int(lengths[rows].sum()))

    def _bpr_batches(self, adjacency: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        order = torch.randperm(len(self.user_rows), generator=generator)
        for chosen in torch.split(order, self.training.batch_interactions):
            users, items = self._encode(self._shared, adjacency)
            drawn = torch.randint(len(items), (len(chosen),), generator=generator)
            own = self.processes.share(chosen)
            user, positive = users[self.user_rows[own]], items[self.item_rows[own]]
            margin = (user * (positive - items[self.processes.share(drawn)])).sum(1)
            yield self._mean(-F.logsigmoid(margin).sum(), len(chosen))


def modality_tensors(
    dataset: Dataset, device: str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return features and presence masks of a data set as tensors."""
    features = {n: torch.from_numpy(m.values).to(device) for n, m in dataset.modalities.items()}
    present = {n: torch.from_numpy(m.present).to(device) for n, m in dataset.modalities.items()}
    return features, present
