"""The engine's items: the artifact's, and the edits that were made since, on disk and in memory."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.artifact import Folder
from mmgrec_engine.catalog.claim import catalog_exists, check_claim, claim
from mmgrec_engine.catalog.edited_items import (
    as_new_ids,
    checked_vectors,
    column_values,
    existing_rows,
    items_table,
    read_payloads,
)
from mmgrec_engine.catalog.followed import FollowedCatalog, later_state
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.item_payload import ItemPayload
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.state import CatalogState, Vectors, base_leaves, rows_of_base
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ArtifactError, RequestError
from mmgrec_engine.model_folder import (
    CATALOG,
    ModelFolder,
    fingerprint,
    load_feature_map,
    load_item_quantizer,
    tokenizer_config,
)
from mmgrec_engine.models.feature_map import FeatureMap, Features, Present
from mmgrec_engine.models.item_quantizer import ItemQuantizer
from mmgrec_engine.rec_ids.placement import place_new_items

RecIds = NDArray[np.int32]


class LiveItems:
    """Items of one artifact that can be edited while requests use ``state``.

    ::

        read:  state = live.state          one attribute; what a request holds never changes
        edit:  with the lock: place -> live catalogue (journal, fdatasync) -> next state, swapped

    Parameters
    ----------
    folder : ModelFolder
        The artifact. Edits that were made of it before are read.

    Raises
    ------
    ArtifactError
        The edits on disk are damaged, or of another artifact.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._vectors = folder.weights["item_vectors"]
        self._has_nodes = folder.config.node_vectors
        self._tables = (
            NodeVectors.of(folder.trie.codes(), self._vectors) if self._has_nodes else None
        )
        self._lock = threading.Lock()  # of everything that edits change
        self._catalog: LiveCatalog | None = None
        self._followed: FollowedCatalog | None = None  # where another process writes
        self._sequence = 0
        self._buffer = np.zeros((0, self._vectors.shape[1]), np.float32)
        self._loading = threading.Lock()
        self._feature_map: FeatureMap | None = None
        self._quantizer: ItemQuantizer | None = None
        ids = IdTable("item", folder.items["item"])
        self.state = CatalogState(folder.trie, ids, self._vectors, nodes=self._tables)
        self._table = (self.state, folder.items)
        if folder.source is not None and catalog_exists(folder.source.path / CATALOG):
            check_claim(self._path, fingerprint(folder.source))
            self._followed = FollowedCatalog(self._path)
            self.state = self._read(self._followed)

    def table(self) -> pl.DataFrame:
        """Return the items table by row; tokens are null where an item is gone."""
        state, table = self.state, self._table
        if table[0] is not state:
            table = self._table = (state, items_table(state, self._folder.items))
        return table[1]

    def vectors_of(
        self,
        count: int,
        features: Features | None,
        present: Present | None,
        vectors: NDArray[np.floating[Any]] | None,
    ) -> Vectors:
        """Return the vectors ``[n, D]`` of features, or check those that were given."""
        if vectors is not None:
            return checked_vectors("vectors", vectors, (count, self._vectors.shape[1]))
        if features is None:
            raise RequestError("nothing to make item vectors of", remedy="give features or vectors")
        with self._loading:
            if self._feature_map is None:
                self._feature_map = load_feature_map(self._source)
        return self._feature_map.vectors(features, present, count)

    @property
    def modalities(self) -> dict[str, int]:
        """Modalities of the items, with their widths."""
        return dict(tokenizer_config(self._source).modalities)

    def insert(
        self,
        ids: Sequence[Hashable],
        vectors: Vectors,
        columns: Mapping[str, Sequence[Any]] | None,
    ) -> RecIds:
        """Add items with vectors ``[n, D]``; return their Rec-IDs ``[n, T]``."""
        if len(ids) == 0:
            return self._no_rec_ids()
        codes, choices = self._codes(vectors)
        values = column_values(columns, len(ids), self._folder.items)
        with self._lock:
            catalog = self._writable()
            external = as_new_ids(ids, self.state, self._folder.items)
            rec_ids = place_new_items(catalog.snapshot(), codes, choices)
            rows = np.arange(len(external)) + self.state.num_rows
            catalog.insert(rec_ids, rows, _payloads(external, vectors, values))
            longer = self.state.with_items(rows, self._stored(vectors), external, values)
            self._publish(longer, catalog)
        return rec_ids

    def delete(self, ids: Sequence[Hashable]) -> None:
        """Remove items."""
        if len(ids) == 0:
            return
        with self._lock:
            catalog = self._writable()
            snapshot = catalog.snapshot()
            rows = existing_rows(ids, self.state, "delete")
            catalog.delete(snapshot.codes(snapshot.lookup_ids(rows)))
            self._publish(self.state, catalog)

    def replace(self, ids: Sequence[Hashable], vectors: Vectors) -> RecIds:
        """Give items other vectors ``[n, D]``, and Rec-IDs to match; return these ``[n, T]``."""
        if len(ids) == 0:
            return self._no_rec_ids()
        codes, choices = self._codes(vectors)
        with self._lock:
            catalog = self._writable()
            state, snapshot = self.state, catalog.snapshot()
            rows = existing_rows(ids, state, "replace")
            old = snapshot.codes(snapshot.lookup_ids(rows))
            rec_ids = place_new_items(snapshot, codes, choices)
            # Rather where it was than beside a full group that it is in.
            stays = (old[:, :-1] == codes).all(1) & (rec_ids[:, :-1] != codes).any(1)
            rec_ids[stays] = old[stays]
            columns = [state.columns.get(row, {}) for row in rows.tolist()]
            payloads = _payloads(state.ids.ids(rows).tolist(), vectors, columns)
            catalog.replace(old, rec_ids, payloads)
            self._publish(state.with_items(rows, self._stored(vectors)), catalog, rows)
        return rec_ids

    def compact(self, *, background: bool) -> None:
        """Build all edits into a new base; requests and edits go on meanwhile."""
        with self._lock:
            if self._catalog is None and not catalog_exists(self._path):
                return
            catalog = self._writable()
        catalog.compact(background=background)
        with self._lock:
            if self._catalog is catalog and self._sequence == catalog.sequence:
                self._publish(self.state, catalog)

    def refresh(self) -> bool:
        """Read what another process has edited; say whether there was anything."""
        with self._lock:
            if self._catalog is not None or not catalog_exists(self._path):
                return False
            check_claim(self._path, fingerprint(self._source))
            changed = self._follow()
            return self._read_anew() if changed is None else changed

    def close(self) -> None:
        """Wait for a compaction and give up the right to write; the next edit takes it again."""
        with self._lock:
            if self._catalog is not None:
                self._catalog.close()
            self._catalog = None

    @property
    def _source(self) -> Folder:
        if self._folder.source is None:
            raise ArtifactError(
                "this engine was not loaded from a folder, so its items cannot be edited",
                remedy="use Engine.load",
            )
        return self._folder.source

    @property
    def _path(self) -> Path:
        return self._source.path / CATALOG

    def _codes(self, vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        with self._loading:
            if self._quantizer is None:
                self._quantizer = load_item_quantizer(self._source)
        return self._quantizer.codes(vectors)

    def _no_rec_ids(self) -> RecIds:
        return np.zeros((0, self._folder.trie.num_levels), np.int32)

    def _writable(self) -> LiveCatalog:
        """Open or make the catalogue; read it anew where this process does not know its state."""
        made_for = fingerprint(self._source)
        if self._catalog is None:
            self._followed = None
            if catalog_exists(self._path):
                check_claim(self._path, made_for)
                self._catalog = LiveCatalog.open(self._path)
            else:
                trie = self._folder.trie
                claim(self._path, made_for)
                self._catalog = LiveCatalog.create(self._path, trie.codes(), trie.level_sizes)
            self._sequence = -1
        if self._sequence != self._catalog.sequence:
            self.state = self._read(self._catalog)
        return self._catalog

    def _read(self, catalog: LiveCatalog | FollowedCatalog) -> CatalogState:
        """Make a state from what is on disk."""
        base, snapshot = self._folder.trie.num_items, catalog.snapshot()
        if snapshot.level_sizes != self._folder.trie.level_sizes:
            raise ArtifactError(f"{self._path}: its level sizes are not the artifact's")
        width = self._vectors.shape[1]
        payloads = read_payloads(catalog, base, width)
        in_base = snapshot.ids(np.arange(base_leaves(snapshot))).astype(np.int64)
        # Never fewer than before: named filters know the rows that were. A base leaf may be gone,
        # and with it what was known of its item; its vector is then 0 wherever it is counted.
        last = max([int(in_base.max(initial=-1)), *payloads])
        count = max(base, self.state.num_rows, last + 1)
        given = [payloads[row].id if row in payloads else None for row in range(base, count)]
        vectors = self._vectors
        if count > base or payloads:
            vectors = np.concatenate([vectors, np.zeros_like(vectors, shape=(count - base, width))])
        if payloads:
            vectors[list(payloads)] = np.stack([p.vector for p in payloads.values()])
        state = CatalogState(
            snapshot,
            IdTable("item", self._folder.items["item"]).grown(given),
            vectors,
            columns={row: payload.columns for row, payload in payloads.items()},
        )
        as_trained = (
            base_leaves(snapshot) == base
            and rows_of_base(snapshot) is None
            and all(row >= base for row in payloads)
        )
        self._sequence = catalog.sequence
        return state.rebased(snapshot, self._tables if as_trained else None, self._has_nodes)

    def _follow(self) -> bool | None:
        """Take over the edits that are new; None where the folder has to be read anew."""
        followed, self._followed = self._followed, None  # kept if all of it succeeds
        batches = None if followed is None else followed.follow()
        if followed is None or batches is None:
            return None
        if batches:
            later = later_state(self.state, batches, self._stored)
            if later is None:
                return None
            state, replaced = later
            self._publish(state, followed, replaced)
        self._followed = followed
        return bool(batches)

    def _read_anew(self) -> bool:
        followed = FollowedCatalog(self._path)
        # A compaction moves edits into a new base without another number.
        changed = followed.sequence != self._sequence or isinstance(self.state.catalog, Trie)
        if changed:
            self.state = self._read(followed)
        self._followed = followed
        return changed

    def _publish(
        self,
        state: CatalogState,
        catalog: LiveCatalog | FollowedCatalog,
        replaced: NDArray[np.int64] | None = None,
    ) -> None:
        snapshot, before = catalog.snapshot(), state.catalog
        assert isinstance(before, Snapshot)  # `_writable` has read it
        rebuilt = snapshot.native.base_key != before.native.base_key
        if replaced is not None and not rebuilt:
            # Back at its base leaf with another vector: the base's node tables have the old one.
            leaves = snapshot.lookup_ids(replaced)
            rebuilt = bool(((leaves >= 0) & (leaves < base_leaves(snapshot))).any())
        self.state = (
            state.rebased(snapshot, None, self._has_nodes) if rebuilt else state.over(snapshot)
        )
        self._sequence = catalog.sequence

    def _stored(self, more: Vectors) -> Vectors:
        """Return all vectors and more; earlier states share the memory up to their own end."""
        vectors = self.state.vectors
        count = len(vectors) + len(more)
        if vectors.base is not self._buffer or len(self._buffer) < count:
            room = max(count, len(vectors) * 5 // 4 + 1024)
            self._buffer = np.empty((room, vectors.shape[1]), np.float32)
            self._buffer[: len(vectors)] = vectors
        self._buffer[len(vectors) : count] = more
        return self._buffer[:count]


def _payloads(
    ids: Sequence[Hashable], vectors: Vectors, columns: Sequence[Mapping[str, Any]]
) -> list[bytes]:
    items = zip(ids, vectors, columns, strict=True)
    return [ItemPayload(*item).to_bytes() for item in items]
