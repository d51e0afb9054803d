"""`Engine`: load an artifact, turn histories of item ids into recommended item ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.batch_requests import UserBatch, batch_request
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.named_filters import NamedFilters
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.exact import EXACT_LIMIT
from mmgrec_engine.decoding.searcher import Request, SearchResult
from mmgrec_engine.live_items import LiveItems
from mmgrec_engine.model_folder import ModelFolder, load_model_folder
from mmgrec_engine.requests import (
    Ids,
    Recommendations,
    check_counts,
    check_histories,
    check_ids,
    history_rows,
    request_filters,
)
from mmgrec_engine.searchers import choose_searcher


class Engine:
    """A loaded model that answers requests and takes edits; build it with `Engine.load`.

    What computes requests is chosen here, once. All methods may be called from many threads; a
    request uses the items as they were when it began.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        device: str = "cpu",
        backend: str | None = None,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        self.config = folder.config
        self.trie = folder.trie
        self.user_ids = IdTable("user", folder.users) if folder.users is not None else None
        self.searcher = choose_searcher(
            folder, device=device, backend=backend, precision=precision, threads=threads
        )
        self._live = LiveItems(folder)
        self._named = NamedFilters()

    @property
    def state(self) -> CatalogState:
        """The items as they are now; what holds it sees no later edit."""
        return self._live.state

    @property
    def item_ids(self) -> IdTable:
        """External ids of all items by row, deleted ones included."""
        return self._live.state.ids

    @property
    def items(self) -> pl.DataFrame:
        """The items table by row; the tokens of deleted items are null."""
        return self._live.table()

    @property
    def num_items(self) -> int:
        """Items that can be recommended."""
        return int(self._live.state.catalog.num_items)

    @property
    def item_width(self) -> int:
        """Numbers per item vector, D."""
        return int(self._live.state.vectors.shape[1])

    @property
    def modalities(self) -> dict[str, int]:
        """Modalities that `insert` takes, with their widths; `ArtifactError` as of `insert`."""
        return self._live.modalities

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        backend: str | None = None,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> Engine:
        """Load an artifact.

        Parameters
        ----------
        path : path
            The folder that ``mmgrec train`` wrote.
        device : {"cpu", "cuda"}
            Where requests are computed.
        backend : str, optional
            "native": the whole request in C++, without torch; the default on the CPU. "cuda":
            graphs of kernels, the default on a GPU. "reference", or another that `mmgrec doctor`
            names: the torch model.
        precision : {"fp32", "bf16", "int8"}
            Of the weights; "int8" for the native backend only.
        threads : int, optional
            Over which the native backend spreads the users of a request; by default MMGREC_THREADS
            or one per processor. 1 is best where many threads send requests.

        Raises
        ------
        ArtifactError
            The folder is missing, unfinished, damaged or from another version; or the edits in its
            ``catalog`` are, or were made to another artifact.
        BackendError
            The backend or device is unknown or cannot run here.
        ConfigError
            This processor or backend has not the precision.
        """
        return cls(
            load_model_folder(Path(path)),
            device=device,
            backend=backend,
            precision=precision,
            threads=threads,
        )

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

            rows   = rows of the history's items, each once, where it was last; their order matters
                     to models that were trained on times, and to no others
            memory = encode(rows)
            result = constrained beam search, seen and denied items excluded inside the search;
                     exact: and on, best prefix first, until nothing better can be left

        Parameters
        ----------
        histories : sequence of sequences of item ids
            One per user, at least one item each, oldest first. Of very long ones the last
            ``max_history`` items are encoded; all of them count as seen.
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
        check_counts(exact_limit=exact_limit)
        state, request = self.prepare(
            histories,
            k=k,
            beam_width=beam_width,
            users=users,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            where=where,
            exact_limit=exact_limit if exact else None,
        )
        if request.num_users == 0:
            return self.answer(state, SearchResult.of_nobody(k, exact))
        return self.answer(state, self.searcher.search(state, request))

    def prepare(
        self,
        histories: Sequence[Ids],
        *,
        k: int,
        beam_width: int,
        users: Ids | None = None,
        exclude_seen: bool = True,
        allow: Ids | None = None,
        deny: Ids | None = None,
        where: str | None = None,
        exact_limit: int | None = None,
    ) -> tuple[CatalogState, Request]:
        """Check what was asked for and turn ids into rows: the first half of `recommend`."""
        check_counts(k=k, beam_width=beam_width)
        check_histories(histories, users)
        state = self._live.state  # the one that is used throughout
        rows = [history_rows(state, history, i) for i, history in enumerate(histories)]
        filters = request_filters(
            state,
            self._named,
            rows,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            where=where,
            takes_ids=self.searcher.backend == "native",
        )
        shown = [r[-self.config.max_history :] for r in rows]
        request = Request(
            state.slots_of(np.concatenate(shown) if shown else np.zeros(0, np.int64)),
            np.cumsum([0, *map(len, shown)]),
            self._user_rows(users),
            filters,
            k,
            beam_width,
            exact_limit,
        )
        return state, request

    def prepare_batch(
        self,
        state: CatalogState,
        batch: UserBatch,
        *,
        k: int,
        beam_width: int,
        exclude_seen: bool = True,
    ) -> Request:
        """Return the request of many users whose ids are rows of ``state`` already.

        Other than in `prepare`, filters differ from user to user. `RequestError` for k or
        beam_width below 1, and for unknown filters.
        """
        check_counts(k=k, beam_width=beam_width)
        return batch_request(
            state,
            self._named,
            batch,
            k=k,
            beam_width=beam_width,
            exclude_seen=exclude_seen,
            max_history=self.config.max_history,
        )

    def answer(self, state: CatalogState, found: SearchResult) -> Recommendations:
        """Turn leaves into ids: the last step of `recommend`."""
        return Recommendations(
            state.ids.ids(state.rows_of(found.ranks)),
            found.scores,
            found.certified,
            found.expanded,
            found.limit_hit,
        )

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

            vectors = a linear map of the features, which training fitted to the trained vectors
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
        check_ids(ids)
        made = self._live.vectors_of(len(ids), features, present, vectors)
        return self._live.insert(ids, made, columns)

    def delete(self, ids: Ids) -> None:
        """Remove items, all or, where one is unknown, none. Errors as of `insert`."""
        check_ids(ids)
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
        check_ids(ids)
        made = self._live.vectors_of(len(ids), features, present, vectors)
        return self._live.replace(ids, made)

    def compact(self, *, background: bool = False) -> None:
        """Build all edits into a new trie; results stay what they are.

        It also happens by itself, in the background, when many edits are pending.
        """
        self._live.compact(background=background)

    def refresh(self) -> bool:
        """Take over edits that another process has made; say whether there were any.

        Raises
        ------
        ArtifactError
            They are damaged, or of another artifact; what was known stays in use.
        """
        return self._live.refresh()

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
        check_ids(ids)
        state = self._live.state
        self._named.set(name, state.ids.rows(ids, f"filter {name!r}"), state.num_rows)

    def remove_filter(self, name: str) -> None:
        """Forget a named set; `RequestError` where there is none of this name."""
        self._named.remove(name)

    def check_filter(self, expression: str) -> None:
        """Raise `RequestError` for an expression that ``where`` cannot be."""
        self._named.resolve(expression, self._live.state.num_rows)

    def filter_names(self) -> list[str]:
        """Return the names of all sets."""
        return self._named.names()

    def _user_rows(self, users: Ids | None) -> NDArray[np.int64] | None:
        if users is None or self.user_ids is None:
            return None
        return self.user_ids.rows_or_missing(users)
