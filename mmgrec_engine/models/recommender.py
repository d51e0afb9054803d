"""The recommender: histories in, log-probabilities of Rec-IDs out.

Shapes: B users, L history length, M beams or targets of a user, D item-vector width, E model width.
Items are leaf ranks throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.decoder import Decoder, Memory
from mmgrec_engine.models.encoder import Encoder
from mmgrec_engine.models.head import Head


class Recommender(nn.Module):
    """Relation-aware encoder, token decoder, one head per level.

    ::

        h_u    = graph vector of a known user, or U . mean of the history's item vectors, an item
                 weighing ``history_decay`` times as much as the next newer one
        memory = encoder(item vectors of the history, h_u)
        log p(item | history) = sum over levels t of log p(token_t | tokens before t, memory)

    Parameters
    ----------
    config : RecommenderConfig
        Shape.
    level_sizes : sequence of int
        K_t per token level, the collision level included.
    item_vectors : Tensor
        ``[N, D]`` frozen, leaf order.
    user_vectors : Tensor or None
        ``[U, D]`` frozen, only for ``user_vector="graph"``.
    """

    item_vectors: Tensor
    user_vectors: Tensor
    history_decay: Tensor
    frozen_buffers = frozenset({"item_vectors", "user_vectors"})

    def __init__(
        self,
        config: RecommenderConfig,
        level_sizes: Sequence[int],
        item_vectors: Tensor,
        user_vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        width = item_vectors.shape[1]
        self.config = config
        self.level_sizes = list(level_sizes)
        self.register_buffer("item_vectors", item_vectors)
        known = torch.zeros(0, width) if user_vectors is None else user_vectors
        self.register_buffer("user_vectors", known)
        self.register_buffer("history_decay", torch.ones(1))
        self.user_map = nn.Linear(width, width)
        nn.init.eye_(self.user_map.weight)  # U starts as the identity: h_u is the mean itself
        nn.init.zeros_(self.user_map.bias)
        self.encoder = Encoder(config, width)
        self.decoder = Decoder(config, level_sizes)
        self.head = Head(config, level_sizes, width)

    @classmethod
    def of_state(
        cls,
        config: RecommenderConfig,
        level_sizes: Sequence[int],
        state: Mapping[str, NDArray[np.float32]],
    ) -> Recommender:
        """Rebuild a trained model for inference from the arrays of its ``state_dict``.

        Raises
        ------
        KeyError, RuntimeError
            One is missing, or has another shape.
        """
        # Copies: the arrays may be mapped from a file, read-only.
        tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
        tensors.setdefault("history_decay", torch.ones(1))  # model version 2 has none
        known = tensors["user_vectors"] if len(tensors["user_vectors"]) else None
        model = cls(config, level_sizes, tensors["item_vectors"], known)
        model.load_state_dict(tensors)
        return model.eval().requires_grad_(False)

    def use_backend(self, name: str) -> None:
        """Compute `relation_attention` with a backend of `mmgrec_engine.ops.backends.choose`."""
        for layer in self.encoder.layers:
            layer.backend = name  # type: ignore[assignment]

    def encode(
        self,
        items: Tensor,
        lengths: Tensor,
        users: Tensor | None = None,
        item_vectors: Tensor | None = None,
    ) -> Memory:
        """Encode histories once per user.

        Parameters
        ----------
        items : Tensor
            ``[B, L]`` leaf ranks, oldest first; entries from ``lengths`` on are ignored (any valid
            rank).
        lengths : Tensor
            ``[B]``, at least 1 each.
        users : Tensor, optional
            ``[B]`` rows of ``user_vectors``, -1 for users without one.
        item_vectors : Tensor, optional
            ``[S, D]`` that ``items`` are rows of, in place of the model's own.
        """
        x = (self.item_vectors if item_vectors is None else item_vectors)[items]
        user = self._user(x, lengths, users)
        return self.decoder.memory(self.encoder(x, user, lengths), lengths, user)

    def log_prob(
        self, memory: Memory, targets: Tensor, valid: Tensor, softmax: CatalogSoftmax
    ) -> Tensor:
        """Return the log-probabilities of target items, flat over the valid ones.

        Parameters
        ----------
        memory : Memory
            Of B users.
        targets : Tensor
            ``[B, M]`` leaf ranks, padded with any valid rank.
        valid : Tensor
            ``[B, M]`` bool.
        softmax : CatalogSoftmax
            The catalogue.

        Returns
        -------
        Tensor
            ``[n]`` in row-major order of ``valid``.
        """
        codes = softmax.codes[targets]
        hidden = self.decoder(codes[:, :, :-1], memory)[valid]
        user = memory.user[:, None].expand(-1, targets.shape[1], -1)[valid]
        ranks = targets[valid]
        total = torch.zeros(len(ranks), device=ranks.device)
        for level in range(len(self.level_sizes)):
            h = hidden[:, level]
            query = self.head.node_query(level, h, user)
            total = total + softmax.log_prob(level, ranks, self.head.logits(level, h), query)
        return total

    def _user(self, x: Tensor, lengths: Tensor, users: Tensor | None) -> Tensor:
        newer = lengths[:, None] - 1 - torch.arange(x.shape[1], device=x.device)
        weight = torch.where(newer >= 0, self.history_decay ** newer.clamp_min(0), 0.0)
        # The newest item weighs 1; without items there is nothing to divide.
        mean = (x * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True).clamp_min(1)
        mapped: Tensor = self.user_map(mean)
        if self.config.user_vector == "history" or users is None:
            return mapped
        return torch.where((users >= 0)[:, None], self.user_vectors[users.clamp_min(0)], mapped)
