"""One state of the items on a device: what changed since the last state is all that is copied.

Shapes: S stored vectors, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.ops.constrained_topk import Nodes


class ItemState(Protocol):
    """What a search needs to know of items; `mmgrec_engine.catalog.state.CatalogState` has it."""

    @property
    def catalog(self) -> Searchable:
        """The catalogue to search."""

    @property
    def vectors(self) -> Tensor:
        """``[S, D]`` item vectors by slot."""

    @property
    def nodes(self) -> NodeVectors | None:
        """Node tables of the catalogue, for a head that uses them."""


@dataclass(frozen=True, eq=False)
class DeviceState:
    """A state's catalogue (for the CPU: itself), vectors and node tables on the device."""

    source: ItemState
    catalog: Any
    vectors: Tensor
    nodes: NodeVectors | None

    @property
    def whole(self) -> tuple[int, int, int, int]:
        """Base and added leaves, each from and to."""
        lo, hi, added_lo, added_hi = self.source.catalog.native.whole
        return lo, hi, added_lo, added_hi

    def nodes_of(self, level: int, query: Tensor | None) -> Nodes | None:
        """Return a level's node vectors with their queries ``[B, M, D]``, if there are any."""
        tables = self.nodes
        if query is None or tables is None:
            return None
        return Nodes(
            query,
            tables.vectors[level],
            tables.starts[level],
            tables.added_sums,
            tables.removed_sums,
        )


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
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def make(self, source: ItemState) -> DeviceState:
        """Bring a state to the device; waits for the copies."""
        vectors = self._vectors.copy(torch.as_tensor(source.vectors))
        nodes = self._nodes(source.nodes)
        if self._device.type == "cpu":
            return DeviceState(source, source.catalog, vectors, nodes)
        from mmgrec_engine.ops.constrained_topk_cuda import device_catalog

        return DeviceState(source, device_catalog(source.catalog, self._device), vectors, nodes)

    def _nodes(self, nodes: NodeVectors | None) -> NodeVectors | None:
        if nodes is None:
            return None
        known, self._tables = self._tables, {}
        return NodeVectors(
            tuple(self._table(table, known) for table in nodes.starts),
            tuple(self._table(table, known) for table in nodes.vectors),
            None if nodes.added_sums is None else nodes.added_sums.to(self._device),
            None if nodes.removed_sums is None else nodes.removed_sums.to(self._device),
        )

    def _table(self, table: Tensor, known: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
        # The source is kept, so that no other table can take over its address.
        found = known.get(table.data_ptr()) or (table, table.to(self._device))
        self._tables[table.data_ptr()] = found
        return found[1]


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
