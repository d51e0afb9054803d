"""Training of the recommender on random context/target splits of every user's items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmgrec.data.histories import Histories
from mmgrec.training.beam_validation import BeamValidation
from mmgrec.training.choices import RecommenderChoices
from mmgrec.training.dense_start import choose_decay, set_start, soften_start, start_dense
from mmgrec.training.distributed import ALONE, Processes, weighted
from mmgrec.training.loop import LoopConfig
from mmgrec.training.splitting import Batch, SplitLimits, batches_of, split_epoch
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.backends import choose


class RecommenderTraining(BaseModel):
    """Loop and context/target split of the recommender."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: LoopConfig
    batch_users: int = Field(default=128, ge=1)
    target_share: tuple[float, float] = (0.1, 0.5)
    max_targets: int = Field(default=64, ge=1)
    max_context: int = Field(default=128, ge=1)
    """Items of a context; served histories may be longer (``max_history`` of the model)."""
    graph_user_share: float = Field(default=0.5, ge=0, le=1)
    """With ``user_vector="graph"``: share of users shown by their graph vector, the rest by the map
    of their history, so that the map is trained for users who have no vector."""


@dataclass(frozen=True)
class Catalogue:
    """What the recommender generates from: items in leaf order.

    ``codes`` ``[N, T]`` Rec-IDs; ``item_vectors`` ``[N, D]``; ``user_vectors`` ``[U, D]``;
    ``rank_of_row`` ``[N]`` leaf rank of a data set's item row. ``score_scale``: what dot products
    of user and item vectors are multiplied by to be the logits that they were trained as.
    """

    trie: Trie
    codes: NDArray[np.int32]
    item_vectors: NDArray[np.float32]
    user_vectors: NDArray[np.float32]
    rank_of_row: NDArray[np.int64]
    score_scale: float

    def to_ranks(self, histories: Histories) -> Histories:
        """Translate item rows to leaf ranks."""
        return Histories(histories.offsets, self.rank_of_row[histories.item_rows].astype(np.int32))


class RecommenderStage:
    """The recommender as a stage of the training loop.

    Parameters
    ----------
    catalogue : Catalogue
        Items in leaf order.
    history, relevant : Histories
        Training and validation items, as leaf ranks.
    shape, training : RecommenderConfig, RecommenderTraining
        What to train and how.
    device : str
        Where the model trains. Splits are drawn on the CPU.
    processes : Processes
        That share its batches and validation users.
    in_order : bool
        Whether histories are in order of time; where they are not, none of it is learned.
    chosen : RecommenderChoices, optional
        Decay and softness of the start, where they were chosen before.

    ``decay`` and ``softness`` say which ones it has.
    """

    name = "recommender"

    def __init__(
        self,
        catalogue: Catalogue,
        history: Histories,
        relevant: Histories,
        shape: RecommenderConfig,
        training: RecommenderTraining,
        device: str = "cpu",
        processes: Processes = ALONE,
        *,
        in_order: bool = False,
        chosen: RecommenderChoices | None = None,
    ) -> None:
        self.catalogue, self.training, self.device = catalogue, training, device
        self.processes = processes
        self.history = history
        self.softmax = CatalogSoftmax(catalogue.codes, catalogue.item_vectors, shape.normalise)
        self.softmax.to(device)
        graph = shape.user_vector == "graph"
        self.model = Recommender(
            shape,
            catalogue.trie.level_sizes,
            torch.from_numpy(catalogue.item_vectors),
            torch.from_numpy(catalogue.user_vectors) if graph else None,
        )
        nodes = None
        if shape.node_vectors:
            nodes = NodeVectors.of(catalogue.codes, catalogue.item_vectors)
            users = torch.from_numpy(catalogue.user_vectors)
            start_dense(self.model, history, users, catalogue.score_scale)
        self.validation = BeamValidation(catalogue.trie, nodes, history, relevant)
        self.decay, self.softness = 1.0, 1.0
        if shape.node_vectors and chosen is not None:
            self.decay, self.softness = chosen.history_decay, chosen.softness
            set_start(self.model, self.decay, self.softness)
        elif shape.node_vectors:
            self.model.eval()
            if shape.history_order and in_order:
                self.decay = choose_decay(self.model, self.validation.score)
            self.softness = soften_start(self.model, self.validation.score)
        self.limits = SplitLimits(
            training.target_share,
            training.max_targets,
            min(training.max_context, shape.max_history),
            ordered=self.decay < 1,
        )
        self.model.to(device)
        self.model.use_backend(choose("relation_attention", device=device, training=True))
        self._log_prob = processes.parallel(_LogProb(self.model))

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield batch losses: mean negative log-probability of the targets."""
        items = self.history.item_rows.astype(np.int64)
        split = split_epoch(self.history.offsets, items, self.limits, generator)
        for batch in batches_of(split, self.training.batch_users, generator):
            batch = replace(batch, users=self._shown_by_vector(batch.users, generator))
            own = batch.share(self.processes.rank, self.processes.count)
            empty = self.processes.rank >= len(batch.users)
            count = 0 if empty else int(own.valid.sum())
            loss = -self._log_prob(own.to(self.device), self.softmax).mean()
            yield weighted(loss, count, int(batch.valid.sum()), self.processes)

    def validate(self) -> float | None:
        """NDCG@20 of beam search on validation users."""
        self.model.eval()
        score = self.validation.score(self.model)
        # The same everywhere, unless processors differ; all have to agree when to stop.
        return None if score is None else self.processes.total(score)[0] / self.processes.count

    def _shown_by_vector(self, users: Tensor, generator: torch.Generator) -> Tensor:
        if self.model.config.user_vector == "history":
            return users
        shown = torch.rand(len(users), generator=generator) < self.training.graph_user_share
        return torch.where(shown, users, -1)


class _LogProb(nn.Module):
    """Histories to log-probabilities of targets as one ``forward``, to share among processes."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, softmax: CatalogSoftmax) -> Tensor:
        """Return the log-probabilities ``[n]`` of the valid targets."""
        memory = self.model.encode(batch.context, batch.lengths, batch.users)
        return self.model.log_prob(memory, batch.targets, batch.valid, softmax)
