"""`Engine`: load an artifact, turn histories of item ids into recommended item ids."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.beam_search import SearchResult, beam_search
from mmgrec_engine.decoding.exact import EXACT_LIMIT, exact_search
from mmgrec_engine.errors import RequestError
from mmgrec_engine.model_folder import ModelFolder, load_model_folder
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.backends import choose

Ids = Sequence[Hashable]


@dataclass(frozen=True)
class Recommendations:
    """Recommended items of a batch, best first.

    ``items`` ``[B, k]`` external ids as objects, None where fewer than k items are allowed.
    ``scores`` ``[B, k]`` log-probabilities, -inf there. ``certified`` ``[B]``: provably the k best
    of the whole catalogue. With ``exact`` only: ``expanded`` ``[B]`` prefixes that were decoded,
    ``limit_hit`` ``[B]`` where the search gave up proving.
    """

    items: NDArray[np.object_]
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]
    expanded: NDArray[np.int64] | None = None
    limit_hit: NDArray[np.bool_] | None = None


class Engine:
    """A loaded model that answers requests; build it with `Engine.load`.

    The backend of every op is chosen here, once.
    """

    def __init__(self, folder: ModelFolder, backend: str | None = None) -> None:
        self.model: Recommender = folder.model
        self.trie: Trie = folder.trie
        self.items = folder.items
        self.item_ids = IdTable("item", folder.items["item"])
        self.user_ids = IdTable("user", folder.users) if folder.users is not None else None
        self.backend = choose("constrained_topk", backend)
        self.model.use_backend(choose("relation_attention", backend))
        self._nodes = (
            NodeVectors.of(folder.trie.codes(None), self.model.item_vectors.numpy())
            if self.model.config.node_vectors
            else None
        )

    @classmethod
    def load(cls, path: str | Path, *, backend: str | None = None) -> Engine:
        """Load an artifact.

        Parameters
        ----------
        path : path
            The folder that ``mmgrec train`` wrote.
        backend : str, optional
            Force a backend ("reference", "native"); by default the best that runs here.

        Raises
        ------
        ArtifactError
            The folder is missing, unfinished, damaged or from another version.
        BackendError
            The backend is unknown or cannot run here.
        """
        return cls(load_model_folder(Path(path)), backend)

    def recommend(
        self,
        histories: Sequence[Ids],
        *,
        k: int = 10,
        beam_width: int = 50,
        users: Ids | None = None,
        exclude_seen: bool = True,
        allow: Ids | None = None,
        deny: Ids | None = None,
        exact: bool = False,
        exact_limit: int = EXACT_LIMIT,
    ) -> Recommendations:
        """Recommend k items for every history.

        ::

            ranks  = leaf ranks of the history's items (a set: order and repeats do not matter)
            memory = encode(ranks)
            result = constrained beam search, seen and denied items excluded inside the search;
                     exact: and on, best prefix first, until nothing better can be left

        Parameters
        ----------
        histories : sequence of sequences of item ids
            One per user, at least one item each. Of very long ones the last ``max_history`` items
            are encoded; all of them count as seen.
        k, beam_width : int
            Results per user; beams per user (raised to k where smaller).
        users : sequence of user ids, optional
            Known users, whose graph vector is used where the model has one; others get a vector
            from their history.
        exclude_seen : bool
            Leave out the items of the history.
        allow, deny : sequences of item ids, optional
            For all users of the call: only these items, never these items.
        exact : bool
            Find the true k best of the whole catalogue; takes as long as a user needs.
        exact_limit : int
            Prefixes decoded per user after which an exact search returns the best found so far,
            with ``certified`` False and ``limit_hit`` True.

        Raises
        ------
        RequestError
            An empty history, an unknown item, k, beam_width or exact_limit below 1, numbers that do
            not match.
        """
        _check_counts(k=k, beam_width=beam_width, exact_limit=exact_limit)
        _check_request(histories, users)
        if len(histories) == 0:
            return self._answer(_nothing(k, exact))
        ranks = [self._history_ranks(history, i) for i, history in enumerate(histories)]
        filters = self._filters(ranks, exclude_seen, allow, deny)
        with torch.no_grad():
            memory = self.model.encode(*self._pad(ranks), self._user_rows(users))
        return self._answer(self._search(memory, k, beam_width, filters, exact, exact_limit))

    def _search(
        self,
        memory: Memory,
        k: int,
        beam_width: int,
        filters: RankFilter | None,
        exact: bool,
        exact_limit: int,
    ) -> SearchResult:
        search = partial(exact_search, max_prefixes=exact_limit) if exact else beam_search
        return search(
            self.model,
            self.trie,
            self._nodes,
            memory,
            k=k,
            beam_width=beam_width,
            filters=filters,
            backend=self.backend,
        )

    def _history_ranks(self, history: Ids, index: int) -> NDArray[np.int64]:
        if len(history) == 0:
            raise RequestError(
                f"history {index} is empty",
                allowed="at least one item",
                remedy="give users without a history the most popular items instead",
            )
        ranks = self.item_ids.rows(history, f"history {index}")
        return ranks[np.sort(np.unique(ranks, return_index=True)[1])]

    def _filters(
        self,
        seen: list[NDArray[np.int64]],
        exclude_seen: bool,
        allow: Ids | None,
        deny: Ids | None,
    ) -> RankFilter | None:
        denied = self.item_ids.rows(deny, "deny") if deny is not None else None
        if not exclude_seen and denied is None and allow is None:
            return None
        nothing = np.zeros(0, np.int64)
        common = nothing if denied is None else denied
        per_user = [np.concatenate([r if exclude_seen else nothing, common]) for r in seen]
        allowed = None
        if allow is not None:
            allowed = [self.item_ids.rows(allow, "allow")] * len(seen)
        return RankFilter.from_lists(per_user, allowed, self.trie.num_items)

    def _pad(self, ranks: list[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        kept = [r[-self.model.config.max_history :] for r in ranks]
        lengths = np.array([len(r) for r in kept])
        padded = np.zeros((len(kept), lengths.max()), np.int64)
        for row, r in zip(padded, kept, strict=True):
            row[: len(r)] = r
        return torch.from_numpy(padded), torch.from_numpy(lengths)

    def _user_rows(self, users: Ids | None) -> Tensor | None:
        if users is None or self.user_ids is None:
            return None
        return torch.from_numpy(self.user_ids.rows_or_missing(users))

    def _answer(self, found: SearchResult) -> Recommendations:
        return Recommendations(
            self.item_ids.ids(found.ranks.numpy()),
            found.scores.numpy(),
            found.certified.numpy(),
            None if found.expanded is None else found.expanded.numpy(),
            None if found.limit_hit is None else found.limit_hit.numpy(),
        )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise RequestError(f"{name} is out of range", value=value, allowed="at least 1")


def _check_request(histories: Sequence[Any], users: Sequence[Any] | None) -> None:
    if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
        raise RequestError(
            "histories is not a list of lists of item ids", remedy="recommend([[id, id, ...], ...])"
        )
    if users is not None and len(users) != len(histories):
        raise RequestError(
            "users and histories differ in number",
            value=f"{len(users)} users, {len(histories)} histories",
        )


def _nothing(k: int, exact: bool) -> SearchResult:
    ranks, nobody = torch.zeros(0, k, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    counts = ranks.new_zeros(0)
    return SearchResult(
        ranks,
        torch.zeros(0, k),
        certified=nobody,
        expanded=counts if exact else None,
        limit_hit=nobody if exact else None,
    )
