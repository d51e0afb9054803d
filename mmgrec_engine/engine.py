"""`Engine`: load an artifact, turn histories of item ids into recommended item ids."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.named_filters import NamedFilters
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.beam_search import SearchResult, beam_search
from mmgrec_engine.decoding.exact import EXACT_LIMIT, exact_search
from mmgrec_engine.errors import RequestError
from mmgrec_engine.live_items import LiveItems
from mmgrec_engine.model_folder import ModelFolder, load_model_folder
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
    """A loaded model that answers requests and takes edits; build it with `Engine.load`.

    The backend of every op is chosen here, once. All methods may be called from many threads; a
    request uses the items as they were when it began.
    """

    def __init__(self, folder: ModelFolder, backend: str | None = None) -> None:
        self.model: Recommender = folder.model
        self.trie = folder.trie
        self.user_ids = IdTable("user", folder.users) if folder.users is not None else None
        self.backend = choose("constrained_topk", backend)
        self.model.use_backend(choose("relation_attention", backend))
        self._live = LiveItems(folder)
        self._named = NamedFilters()

    @property
    def item_ids(self) -> IdTable:
        """External ids of all items by row, deleted ones included."""
        return self._live.state.ids

    @property
    def items(self) -> pl.DataFrame:
        """The items table by row; the tokens of deleted items are null."""
        return self._live.table()

    @property
    def modalities(self) -> dict[str, int]:
        """Modalities that `insert` takes, with their widths; `ArtifactError` as of `insert`."""
        return dict(self._live.tokenizer.config.modalities)

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
            The folder is missing, unfinished, damaged or from another version; or the edits in its
            ``catalog`` are, or were made to another artifact.
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
        where: str | None = None,
        exact: bool = False,
        exact_limit: int = EXACT_LIMIT,
    ) -> Recommendations:
        """Recommend k items for every history.

        ::

            rows   = rows of the history's items (a set: order and repeats do not matter)
            memory = encode(rows)
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
            For all users of the call: only these items, never these items. Deleted items may be
            named here and in histories.
        where : str, optional
            Named filters (`set_filter`) that an item has to pass, e.g. "in_stock and not adult".
        exact : bool
            Find the true k best of the whole catalogue; takes as long as a user needs.
        exact_limit : int
            Prefixes decoded per user after which an exact search returns the best found so far,
            with ``certified`` False and ``limit_hit`` True.

        Raises
        ------
        RequestError
            An empty history, an unknown item or filter, k, beam_width or exact_limit below 1,
            numbers that do not match.
        """
        _check_counts(k=k, beam_width=beam_width, exact_limit=exact_limit)
        _check_request(histories, users)
        if len(histories) == 0:
            return self._answer(self._live.state, _nothing(k, exact))
        state = self._live.state  # the one that is used throughout
        rows = [_history_rows(state, history, i) for i, history in enumerate(histories)]
        filters = self._filters(state, rows, exclude_seen, allow, deny, where)
        items, lengths = self._pad(rows)
        with torch.no_grad():
            memory = self.model.encode(
                state.slots_of(items), lengths, self._user_rows(users), state.vectors
            )
        search = partial(exact_search, max_prefixes=exact_limit) if exact else beam_search
        found = search(
            self.model,
            state.catalog,
            state.nodes,
            memory,
            k=k,
            beam_width=beam_width,
            filters=filters,
            backend=self.backend,
        )
        return self._answer(state, found)

    def insert(
        self,
        ids: Ids,
        features: Mapping[str, NDArray[np.floating[Any]]] | None = None,
        present: Mapping[str, NDArray[np.bool_]] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        *,
        vectors: NDArray[np.floating[Any]] | None = None,
    ) -> NDArray[np.int32]:
        """Add items, which can be recommended as soon as this returns, and are on disk by then.

        ::

            vectors = graph encoder of the features alone (an item without interactions)
            rec_ids = residual quantiser of the vectors; the nearest that is free
            all items or, where anything is wrong, none

        Parameters
        ----------
        ids : sequence of item ids
            n new ids, or ids of deleted items.
        features : mapping
            Modality to ``[n, width]`` numbers. All items lack a modality that is not named.
        present : mapping, optional
            Modality to ``[n]`` bool: which items have it.
        columns : mapping, optional
            Column of `items` (e.g. "title") to n values; None where not given.
        vectors : array, optional
            ``[n, D]`` item vectors in place of features, of length 1 where the model's are.

        Returns
        -------
        array
            Rec-IDs ``[n, T]``.

        Raises
        ------
        RequestError
            Features or vectors of another shape, not finite, or of an unknown modality.
        EditError
            An id is taken, given twice or of another type; a column does not fit; no free Rec-ID.
        ArtifactError
            Another process has these items open for writing, the disk is full, or the artifact was
            written by a version that did not keep its tokeniser.
        """
        _check_ids(ids)
        made = self._live.vectors_of(len(ids), features, present, vectors)
        return self._live.insert(ids, made, columns)

    def delete(self, ids: Ids) -> None:
        """Remove items, all or, where one is unknown, none. Errors as of `insert`."""
        _check_ids(ids)
        self._live.delete(ids)

    def replace(
        self,
        ids: Ids,
        features: Mapping[str, NDArray[np.floating[Any]]] | None = None,
        present: Mapping[str, NDArray[np.bool_]] | None = None,
        *,
        vectors: NDArray[np.floating[Any]] | None = None,
    ) -> NDArray[np.int32]:
        """Give items new features: new vectors and Rec-IDs ``[n, T]``, which are returned.

        Ids and columns stay. Parameters and errors as of `insert`; ids are those of items.
        """
        _check_ids(ids)
        made = self._live.vectors_of(len(ids), features, present, vectors)
        return self._live.replace(ids, made)

    def compact(self, *, background: bool = False) -> None:
        """Build all edits into a new trie; results stay what they are.

        It also happens by itself, in the background, when many edits are pending.
        """
        self._live.compact(background=background)

    def close(self) -> None:
        """Let another process edit; requests and later edits, which open it again, go on."""
        self._live.close()

    def set_filter(self, name: str, ids: Ids) -> None:
        """Name a set of items for ``recommend(where=...)``, in place of one of this name.

        Items that are inserted later are in no set until it is set again.

        Raises
        ------
        RequestError
            An unknown item, or a name that cannot be used in an expression.
        """
        _check_ids(ids)
        state = self._live.state
        self._named.set(name, state.ids.rows(ids, f"filter {name!r}"), state.num_rows)

    def remove_filter(self, name: str) -> None:
        """Forget a named set; `RequestError` where there is none of this name."""
        self._named.remove(name)

    def filter_names(self) -> list[str]:
        """Return the names of all sets."""
        return self._named.names()

    def _filters(
        self,
        state: CatalogState,
        seen: list[NDArray[np.int64]],
        exclude_seen: bool,
        allow: Ids | None,
        deny: Ids | None,
        where: str | None,
    ) -> RankFilter | None:
        if not exclude_seen and deny is None and allow is None and where is None:
            return None
        common = state.leaves(state.ids.rows(deny if deny is not None else [], "deny"))
        per_user = [
            np.concatenate([state.leaves(rows if exclude_seen else rows[:0]), common])
            for rows in seen
        ]
        allowed = None
        if allow is not None:
            allowed = [state.leaves(state.ids.rows(allow, "allow"))] * len(seen)
        named = None
        if where is not None:
            named = state.named_set(self._named.resolve(where, state.num_rows))
        return RankFilter.from_lists(per_user, allowed, state.num_leaves, named=named)

    def _pad(self, rows: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], Tensor]:
        kept = [r[-self.model.config.max_history :] for r in rows]
        lengths = np.array([len(r) for r in kept])
        padded = np.zeros((len(kept), lengths.max()), np.int64)
        for line, r in zip(padded, kept, strict=True):
            line[: len(r)] = r
        return padded, torch.from_numpy(lengths)

    def _user_rows(self, users: Ids | None) -> Tensor | None:
        if users is None or self.user_ids is None:
            return None
        return torch.from_numpy(self.user_ids.rows_or_missing(users))

    def _answer(self, state: CatalogState, found: SearchResult) -> Recommendations:
        return Recommendations(
            state.ids.ids(state.rows_of(found.ranks.numpy())),
            found.scores.numpy(),
            found.certified.numpy(),
            None if found.expanded is None else found.expanded.numpy(),
            None if found.limit_hit is None else found.limit_hit.numpy(),
        )


def _history_rows(state: CatalogState, history: Ids, index: int) -> NDArray[np.int64]:
    if len(history) == 0:
        raise RequestError(
            f"history {index} is empty",
            allowed="at least one item",
            remedy="give users without a history the most popular items instead",
        )
    rows = state.ids.rows(history, f"history {index}")
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise RequestError(f"{name} is out of range", value=value, allowed="at least 1")


def _check_ids(ids: Ids) -> None:
    if isinstance(ids, str):
        raise RequestError("ids is not a list of item ids", value=repr(ids), remedy="[id, id, ...]")


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
