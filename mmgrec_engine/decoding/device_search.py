"""Beam search on a CUDA device: planned memory, padded shapes, one CUDA graph per shape.

Shapes: B users, R history items of all users, k results, W beams.
"""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.decoding.device_buffers import Buffers, Found, Ints
from mmgrec_engine.decoding.device_shapes import (
    MostRecent,
    Shape,
    batches,
    padded_filter_bytes,
    padded_length,
    padded_users,
)
from mmgrec_engine.decoding.device_state import DeviceState, DeviceStates, ItemState
from mmgrec_engine.decoding.device_steps import CudaSteps, HostSteps, Steps
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.cached_decoder import CachedDecoder
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.constrained_topk_cuda import STATUS

MOST_PLANS = 32
"""Shapes whose memory and graphs are kept."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(eq=False)
class Plan:
    """One shape: its memory, and its graph once it has one."""

    buffers: Buffers
    uses: int = 0
    graph: torch.cuda.CUDAGraph | None = None


@dataclass(frozen=True)
class Part:
    """A batch that fits a plan: histories one after the other, and what is known of the users."""

    slots: Ints
    lengths: Ints
    user_rows: Ints | None
    filters: RankFilter | None


class DeviceSearcher:
    """Answers requests on one device with one model.

    ::

        pad the request to a shape; write it to pinned memory; queue its copy
        first request of a shape: queue every kernel (which compiles what is not compiled yet)
        second: the same into a CUDA graph; from then on one launch of the graph
        queue the copy of the results; wait once; read

    A graph holds the addresses of the state of the items that it was captured with: when another
    state comes, all graphs are dropped, and shapes are captured anew at their second request.

    Parameters
    ----------
    model : Recommender
        On any device; its weights are copied, its item vectors are not.
    device : str or torch.device
        "cuda", "cuda:1", ...; "cpu" does the same without graphs, for tests.
    dtype : {"fp32", "bf16"}
        Of weights, item vectors and hidden vectors. Logits, scores and node vectors stay float32.
    graphs : bool
        Whether to capture; off, every request is queued kernel by kernel.
    attention : str, optional
        Backend of all attentions; by default the best that runs on the device.
    """

    def __init__(
        self,
        model: Recommender,
        device: str | torch.device = "cuda",
        *,
        dtype: str = "fp32",
        graphs: bool = True,
        attention: str | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError("unknown dtype", value=repr(dtype), allowed=", ".join(DTYPES))
        self.device = torch.device(device)
        self.model = _copy_weights(model, self.device, DTYPES[dtype])
        kind = self.device.type
        if kind == "cpu" and dtype == "bf16":
            attention = attention or "reference"  # the CPU's kernel takes float32 alone
        self.model.use_backend(choose("relation_attention", attention, device=kind))
        self._attention = choose("cross_attention_beams", attention, device=kind)
        self._lock = threading.Lock()  # of everything below: one request at a time
        self._states = DeviceStates(self.device, DTYPES[dtype])
        self._state: DeviceState | None = None
        self._plans: MostRecent[Shape, Plan] = MostRecent(MOST_PLANS, self._new_plan)
        self._stream: Any = None
        if kind == "cuda":
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            self._pool = torch.cuda.graph_pool_handle()
        self._graphs = graphs and kind == "cuda"

    @torch.no_grad()
    def search(
        self,
        state: ItemState,
        slots: Ints,
        offsets: Ints,
        *,
        k: int,
        beam_width: int,
        user_rows: Ints | None = None,
        filters: RankFilter | None = None,
    ) -> tuple[Ints, NDArray[np.float32], NDArray[np.bool_]]:
        """Find the best k items of every user.

        Parameters
        ----------
        state : ItemState
            Catalogue, item vectors and node tables of the request.
        slots, offsets : array
            Rows of the item vectors ``[R]``, user b's being ``slots[offsets[b]:offsets[b + 1]]``,
            at least one and at most the model's ``max_history``; ``offsets`` ``[B + 1]``.
        k, beam_width : int
            Results per user; beams per user, raised to k where smaller.
        user_rows : array, optional
            ``[B]`` rows of the model's user vectors, -1 for users without one.
        filters : RankFilter, optional
            Leaves each user may or may not get.

        Returns
        -------
        leaves, scores, certified : array
            ``[B, k]`` and ``[B]``, as of `mmgrec_engine.decoding.searcher.SearchResult`.

        Raises
        ------
        ConfigError
            A history is empty or too long, or the model computes NaN.
        """
        lengths = np.diff(offsets)
        self._check(lengths)
        width = max(beam_width, k)
        found = [_empty(width, self.model)]
        with self._lock:
            for rows in batches(len(lengths), width, max(self.model.level_sizes)):
                part = Part(
                    slots[offsets[rows.start] : offsets[rows.stop]],
                    lengths[rows],
                    None if user_rows is None else user_rows[rows],
                    _of_rows(filters, rows),
                )
                plan = self.enqueue(state, part, width)
                found.append(self.read(plan, len(part.lengths)))
        return _answer(found, k)

    def enqueue(self, state: ItemState, part: Part, width: int) -> Plan:
        """Queue everything that a part of a request needs; waits for nothing.

        Only a state that is new here, and the first two requests of a shape, make the host wait.
        """
        held = self._use(state)
        users = padded_users(len(part.lengths))
        filters = None if part.filters is None else part.filters.padded(users)
        prepared = None if filters is None else filters.prepared(held.source.catalog)
        room = 0 if prepared is None else padded_filter_bytes(prepared.packed_bytes)
        longest = padded_length(int(part.lengths.max()), self.model.config.max_history)
        plan = self._plans.get(Shape(users, longest, width, room))
        if self._stream is None:
            plan.buffers.stage(part.slots, part.lengths, part.user_rows, None)
            self._compute(held, plan, HostSteps(held, plan.buffers, filters, self._normalise))
            return plan
        with torch.cuda.stream(self._stream):
            plan.buffers.stage(part.slots, part.lengths, part.user_rows, prepared)
            self._run(held, plan)
            plan.buffers.fetch()
        return plan

    def read(self, plan: Plan, users: int) -> Found:
        """Wait for the results of a plan's first users and check them."""
        if self._stream is not None:
            self._stream.synchronize()
        found = plan.buffers.read(users)
        for bit, problem in STATUS.items():
            if (found.status & bit).any():
                raise ConfigError(f"constrained_topk: {problem}")
        return found

    @property
    def captured(self) -> int:
        """Graphs that are ready."""
        return sum(plan.graph is not None for plan in self._plans.values())

    @property
    def _normalise(self) -> Literal["catalogue", "full"]:
        return self.model.config.normalise

    def _use(self, state: ItemState) -> DeviceState:
        held = self._state
        if held is None or held.source.catalog is not state.catalog:
            # The old state's memory is free once its graphs are gone.
            for plan in self._plans.values():
                plan.uses, plan.graph = 0, None
            self._state = held = None
            if self._stream is None:
                held = self._states.make(state)
            else:
                with torch.cuda.stream(self._stream):
                    held = self._states.make(state)
            self._state = held
        return held

    def _new_plan(self, shape: Shape) -> Plan:
        return Plan(Buffers(shape, len(self.model.level_sizes), self.device))

    def _run(self, state: DeviceState, plan: Plan) -> None:
        """Queue all kernels of a plan on the current stream, by its graph if it has one."""
        if plan.graph is None and self._graphs and plan.uses > 0:
            graph = torch.cuda.CUDAGraph()
            # Other threads may allocate meanwhile. Graphs share memory: they run one by one, and
            # their inputs and outputs lie outside.
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                self._compute(state, plan, CudaSteps(state, plan.buffers, self._normalise))
            plan.graph = graph
        plan.uses += 1
        if plan.graph is not None:
            plan.graph.replay()
        else:
            self._compute(state, plan, CudaSteps(state, plan.buffers, self._normalise))

    def _compute(self, state: DeviceState, plan: Plan, steps: Steps) -> None:
        """Encode, then one decoder position and one constrained step per level."""
        model, buffers = self.model, plan.buffers
        known = model.config.user_vector == "graph" and len(model.user_vectors) > 0
        users = buffers.user_rows if known else None
        memory = model.encode(buffers.slots, buffers.lengths, users, state.vectors)
        decoder = CachedDecoder(
            model.decoder, memory, buffers.scores.shape[1], backend=self._attention
        )
        hidden = decoder.step()
        levels = len(model.level_sizes)
        for level in range(levels):
            logits = model.head.logits(level, hidden).float()
            query = model.head.node_query(level, hidden, memory.user[:, None])
            query = None if query is None else query.float().contiguous()
            parents, tokens = steps.step(level, logits, query)
            if level + 1 < levels:
                hidden = decoder.step(parents, tokens)
        steps.finish()

    def _check(self, lengths: Ints) -> None:
        most = self.model.config.max_history
        wrong = np.flatnonzero((lengths < 1) | (lengths > most))
        if len(wrong):
            raise ConfigError(
                f"history {wrong[0]} has no length that the model takes",
                value=int(lengths[wrong[0]]),
                allowed=f"1 to {most}",
            )


def _copy_weights(model: Recommender, device: torch.device, dtype: torch.dtype) -> Recommender:
    """Copy a model without its item vectors, which belong to a state."""
    # As if they had been copied already: as none.
    nothing = {id(model.item_vectors): model.item_vectors[:0]}
    return deepcopy(model, nothing).eval().requires_grad_(False).to(device, dtype)


def _of_rows(filters: RankFilter | None, rows: slice) -> RankFilter | None:
    if filters is None or rows.stop - rows.start == filters.num_users:
        return filters
    return filters.of_users(np.arange(rows.start, rows.stop))


def _empty(width: int, model: Recommender) -> Found:
    levels = len(model.level_sizes)
    return Found(
        np.zeros((0, width), np.int64),
        np.zeros((0, width), np.float32),
        np.zeros((levels, 0), np.float32),
        np.zeros((levels, 0), np.int32),
    )


def _answer(found: list[Found], k: int) -> tuple[Ints, NDArray[np.float32], NDArray[np.bool_]]:
    leaves = np.concatenate([f.leaves[:, :k] for f in found])
    scores = np.concatenate([f.scores[:, :k] for f in found])
    pruned = np.concatenate([f.best_pruned.max(axis=0) for f in found])
    return leaves, scores, scores[:, k - 1] >= pruned
