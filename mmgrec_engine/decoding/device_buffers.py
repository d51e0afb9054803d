"""Memory of a planned search: inputs and outputs at fixed addresses, and their copies on the host.

Shapes: B users and L history items of the plan, b and n of the request in it, W beams, T levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.decoding.device_shapes import Shape

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Results of b users.

    ``leaves`` and ``scores`` ``[b, W]``; per level, ``[T, b]``, the best score that was dropped and
    the status word.
    """

    leaves: Ints
    scores: NDArray[np.float32]
    best_pruned: NDArray[np.float32]
    status: NDArray[np.int32]


class Buffers:
    """One block for inputs and one for outputs, so that one copy each way is enough.

    On the device (the same on the CPU): ``slots`` ``[B, L]``, ``lengths`` and ``user_rows`` ``[B]``
    int64; ``filters`` bytes or None; ``leaves`` ``[B, W]`` int64, ``scores`` ``[B, W]``,
    ``best_pruned`` ``[T, B]`` float32, ``status`` ``[T, B]`` int32.
    """

    def __init__(self, shape: Shape, levels: int, device: torch.device) -> None:
        self._shape, self._levels, self._device = shape, levels, device
        users = shape.users
        self._input = self._pair(8 * users * (shape.length + 2))
        self._output = self._pair(users * (12 * shape.width + 8 * levels))
        self._filters = self._pair(shape.filter_bytes) if shape.filter_bytes else None
        self.slots, self.lengths, self.user_rows = self._inputs(self._input[1])
        self.leaves, self.scores, self.best_pruned, self.status = self._outputs(self._output[1])
        self.filters = self._filters[1] if self._filters else None
        # Made once: a view takes some microseconds, and a request would make twenty.
        self._host_inputs = tuple(x.numpy() for x in self._inputs(self._input[0]))
        self._host_outputs = tuple(x.numpy() for x in self._outputs(self._output[0]))

    def stage(
        self, slots: Ints, lengths: Ints, user_rows: Ints | None, filters: _native.Filters | None
    ) -> None:
        """Write a request and queue its copies.

        ``slots`` ``[n]``: the histories of b users one after the other, ``lengths`` ``[b]``. The
        memory must not be in use: `read` was called since the last time.
        """
        padded, all_lengths, rows = self._host_inputs
        users = len(lengths)
        padded[:] = 0  # any slot: what is beyond a length is never used
        padded[:users][np.arange(padded.shape[1]) < lengths[:, None]] = slots
        all_lengths[:] = 0
        all_lengths[:users] = lengths
        rows[:] = -1
        if user_rows is not None:
            rows[:users] = user_rows
        self._copy(self._input[0], self._input[1])
        if self._filters is not None and filters is not None:
            host, device = self._filters
            packed = filters.pack(device.data_ptr())
            host[: len(packed)].numpy()[:] = packed
            self._copy(host[: len(packed)], device[: len(packed)])

    def fetch(self) -> None:
        """Queue the copy of the results."""
        self._copy(self._output[1], self._output[0])

    def read(self, users: int) -> Found:
        """Return the results of the first users, once they are there."""
        leaves, scores, pruned, status = self._host_outputs
        return Found(
            leaves[:users].copy(),
            scores[:users].copy(),
            pruned[:, :users].copy(),
            status[:, :users].copy(),
        )

    def _pair(self, size: int) -> tuple[Tensor, Tensor]:
        """Allocate on the host, where a copy need not wait, and on the device."""
        pinned = self._device.type == "cuda"
        host = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
        return host, host.to(self._device)

    def _inputs(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        users, length = self._shape.users, self._shape.length
        slots, lengths, rows = torch.split(block.view(torch.int64), [users * length, users, users])
        return slots.view(users, length), lengths, rows

    def _outputs(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        users, width = self._shape.users, self._shape.width
        cells, words = users * width, self._levels * users
        sizes = [8 * cells, 4 * cells, 4 * words, 4 * words]
        leaves, scores, pruned, status = torch.split(block, sizes)
        return (
            leaves.view(torch.int64).view(users, width),
            scores.view(torch.float32).view(users, width),
            pruned.view(torch.float32).view(-1, users),
            status.view(torch.int32).view(-1, users),
        )

    def _copy(self, source: Tensor, target: Tensor) -> None:
        if self._device.type == "cuda":
            target.copy_(source, non_blocking=True)
