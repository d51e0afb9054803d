"""One state of the items on a device: what changed since the last state is all that is copied.

Shapes: S stored vectors, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.ops.constrained_topk import Nodes

Array = Tensor | NDArray[Any]


class NodeTables(Protocol):
    """Node vectors of a catalogue; `mmgrec_engine.catalog.nodes.NodeVectors` has them."""

    @property
    def starts(self) -> Sequence[Array]:
        """Per level ``[n_t + 1]`` int64: first leaf of every node."""

    @property
    def vectors(self) -> Sequence[Array]:
        """Per level ``[n_t, D]`` float32."""

    @property
    def added_sums(self) -> Array | None:
        """``[added + 1, D]`` float64, for an edited catalogue."""

    @property
    def removed_sums(self) -> Array | None:
        """``[removed + 1, D]`` float64, for an edited catalogue."""


class ItemState(Protocol):
    """What a search needs to know of items; `mmgrec_engine.catalog.state.CatalogState` has it."""

    @property
    def catalog(self) -> Searchable:
        """The catalogue to search."""

    @property
    def vectors(self) -> Array:
        """``[S, D]`` item vectors by slot."""

    @property
    def nodes(self) -> NodeTables | None:
        """Node tables of the catalogue, for a head that uses them."""


@dataclass(frozen=True)
class DeviceTables:
    """`NodeTables` on the device."""

    starts: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    added_sums: Tensor | None
    removed_sums: Tensor | None


@dataclass(frozen=True, eq=False)
class DeviceState:
    """A state's catalogue (for the CPU: itself), vectors and node tables on the device."""

    source: ItemState
    catalog: Any
    vectors: Tensor
    nodes: DeviceTables | None

    @property
    def leaves(self) -> tuple[int, int]:
        """How many in the base, removed ones included, and how many added."""
        _, base, _, added = self.source.catalog.native.whole
        return base, added

    def nodes_of(self, level: int, query: Tensor | None) -> Nodes | None:
        """Return a level's node vectors with their queries ``[B, M, D]``, if there are any."""
        tables = self.nodes
        if query is None or tables is None:
            return None
        vectors, starts = tables.vectors[level], tables.starts[level]
        return Nodes(query, vectors, starts, tables.added_sums, tables.removed_sums)


class DeviceStates:
    """Makes `DeviceState`s one after the other; vectors and tables that stay are not copied again.

    Parameters
    ----------
    device : torch.device
        Where they go.
    dtype : torch.dtype
        Of item vectors; node tables stay float32.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._vectors = _Rows(device, dtype)
        self._tables: dict[int, tuple[Array, Tensor]] = {}

    def make(self, source: ItemState) -> DeviceState:
        """Bring a state to the device; waits for the copies."""
        vectors = self._vectors.copy(torch.as_tensor(source.vectors))
        nodes = self._nodes(source.nodes)
        if self._device.type == "cpu":
            return DeviceState(source, source.catalog, vectors, nodes)
        from mmgrec_engine.ops.constrained_topk_cuda import device_catalog

        return DeviceState(source, device_catalog(source.catalog, self._device), vectors, nodes)

    def _nodes(self, nodes: NodeTables | None) -> DeviceTables | None:
        if nodes is None:
            return None
        known, self._tables = self._tables, {}
        return DeviceTables(
            tuple(self._table(table, known) for table in nodes.starts),
            tuple(self._table(table, known) for table in nodes.vectors),
            None if nodes.added_sums is None else self._moved(nodes.added_sums),
            None if nodes.removed_sums is None else self._moved(nodes.removed_sums),
        )

    def _table(self, table: Array, known: dict[int, tuple[Array, Tensor]]) -> Tensor:
        # The source is kept, so that no other table can take over its id.
        found = known.get(id(table)) or (table, self._moved(table))
        self._tables[id(table)] = found
        return found[1]

    def _moved(self, array: Array) -> Tensor:
        return torch.as_tensor(array).to(self._device)


class _Rows:
    """Item vectors, which only gain rows at their end until they are laid out anew elsewhere."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._source = self._copy = torch.zeros(0, 0)

    def copy(self, source: Tensor) -> Tensor:
        """Return ``[S, D]`` on the device."""
        known = len(self._source)
        grown = source.data_ptr() == self._source.data_ptr() and known <= len(source)
        if not grown or len(source) > len(self._copy):
            known = 0
            room = len(source) * 5 // 4 if grown else len(source)
            shape = (room, source.shape[1])
            self._copy = torch.empty(shape, dtype=self._dtype, device=self._device)
        self._copy[known : len(source)].copy_(source[known:])
        self._source = source
        return self._copy[: len(source)]
