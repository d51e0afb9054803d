"""`DeviceSearcher` against `beam_search` over whole prefixes; graphs are tested where a GPU is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from mmgrec_engine.catalog.filters import NamedSet, RankFilter
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding import device_search
from mmgrec_engine.decoding.beam_search import beam_search
from mmgrec_engine.decoding.device_search import DeviceSearcher, Part
from mmgrec_engine.decoding.device_shapes import MostRecent
from mmgrec_engine.decoding.searcher import SearchResult
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.backends import availability

PROBLEM = next(a.reason for a in availability("constrained_topk", "cuda") if a.backend == "cuda")
needs_gpu = pytest.mark.skipif(bool(PROBLEM), reason=f"graphs: {PROBLEM}")
DEVICE = "cpu" if PROBLEM else "cuda"
TOLERANCE = 1e-4
SIZES, WIDTH = [12, 9, 300, 3], 6

Searched = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class State:
    """What `ItemState` asks for."""

    catalog: Trie | Snapshot
    vectors: torch.Tensor
    nodes: NodeVectors | None


@dataclass
class Request:
    """Histories one after the other."""

    slots: np.ndarray
    lengths: np.ndarray
    user_rows: np.ndarray | None = None

    @property
    def offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.lengths)])


def make_model(state: State, seed: int = 0, **options: object) -> Recommender:
    torch.manual_seed(seed)
    shape = {"width": 16, "heads": 2, "head_width": 8, "feed_forward": 16, "max_history": 40}
    config = RecommenderConfig(**{**shape, "node_vectors": state.nodes is not None, **options})  # type: ignore[arg-type]
    return Recommender(config, SIZES, state.vectors, torch.randn(5, WIDTH)).eval()


def make_state(items: int = 400, nodes: bool = True, seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, SIZES, (items, len(SIZES)), dtype=np.int32), axis=0)
    vectors = rng.normal(size=(len(codes), WIDTH)).astype(np.float32)
    tables = NodeVectors.of(codes, vectors) if nodes else None
    return State(Trie.build(codes, SIZES)[0], torch.from_numpy(vectors), tables)


@contextmanager
def edited_state(folder: Path, state: State, seed: int = 1) -> Iterator[tuple[LiveCatalog, State]]:
    """The same items in a live catalogue, some deleted and some inserted; slots are item ids."""
    rng = np.random.default_rng(seed)
    codes, items = state.catalog.codes(), len(state.vectors)
    with LiveCatalog.create(folder / "catalog", codes, SIZES) as live:
        live.delete(codes[rng.choice(items, items // 5, replace=False)])
        new = np.unique(rng.integers(0, SIZES, (60, len(SIZES)), dtype=np.int32), axis=0)
        new = new[live.snapshot().lookup(new) < 0]
        live.insert(new, np.arange(items, items + len(new)))
        vectors = rng.normal(size=(len(new), WIDTH)).astype(np.float32)
        yield live, next_state(live, state, torch.cat([state.vectors, torch.from_numpy(vectors)]))


def next_state(live: LiveCatalog, state: State, vectors: torch.Tensor) -> State:
    """The state over a live catalogue's latest snapshot."""
    snapshot = live.snapshot()
    base = int(snapshot.native.whole[1])
    added = snapshot.ids(np.arange(base, snapshot.num_leaves)).astype(np.int64)
    removed = snapshot.native.removed.astype(np.int64)
    nodes = state.nodes and state.nodes.edited(vectors[added], vectors[removed])
    return State(snapshot, vectors, nodes)


def make_request(state: State, lengths: list[int], seed: int = 0, users: bool = False) -> Request:
    rng = np.random.default_rng(seed)
    slots = rng.integers(0, len(state.vectors), sum(lengths))
    rows = rng.integers(-1, 5, len(lengths)) if users else None
    return Request(slots, np.array(lengths), rows)


def make_filters(state: State, users: int, seed: int = 0, named: bool = True) -> RankFilter:
    rng = np.random.default_rng(seed)
    leaves, base = state.catalog.num_leaves, int(state.catalog.native.whole[1])
    deny = [rng.integers(0, leaves, rng.integers(0, leaves)) for _ in range(users)]
    allow = [None if u % 2 else rng.integers(0, leaves, leaves // 2) for u in range(users)]
    kept = [np.flatnonzero(rng.random(n) < 0.6) for n in (base, leaves - base)]
    chosen = NamedSet(LeafSet.of(kept[0], base), LeafSet.of(kept[1], leaves - base))
    return RankFilter.from_lists(deny, allow, leaves, named=chosen if named else None)


def expected(
    model: Recommender,
    state: State,
    request: Request,
    k: int,
    beam_width: int,
    filters: RankFilter | None = None,
) -> SearchResult:
    """The search of the CPU, whole prefixes decoded by the reference."""
    items = np.zeros((len(request.lengths), request.lengths.max()), np.int64)
    items[np.arange(items.shape[1]) < request.lengths[:, None]] = request.slots
    rows = None if request.user_rows is None else torch.from_numpy(request.user_rows)
    with torch.no_grad():
        memory = model.encode(
            torch.from_numpy(items), torch.from_numpy(request.lengths), rows, state.vectors
        )
    return beam_search(
        model, state.catalog, state.nodes, memory, k=k, beam_width=beam_width, filters=filters
    )


def searched(
    searcher: DeviceSearcher,
    state: State,
    request: Request,
    k: int,
    beam_width: int,
    filters: RankFilter | None = None,
) -> Searched:
    return searcher.search(
        state,
        request.slots,
        request.offsets,
        k=k,
        beam_width=beam_width,
        user_rows=request.user_rows,
        filters=filters,
    )


def assert_same(found: Searched, wanted: SearchResult) -> None:
    leaves, scores, certified = found
    np.testing.assert_allclose(scores, np.asarray(wanted.scores), atol=TOLERANCE, rtol=TOLERANCE)
    # Items may change places where their scores are as good as equal.
    gaps = np.abs(np.diff(scores, axis=1, prepend=np.inf, append=-np.inf)) > 2 * TOLERANCE
    alone = gaps[:, 1:] & gaps[:, :-1]
    assert alone.mean() > 0.5
    ranks = np.asarray(wanted.ranks)
    assert (leaves == ranks)[alone].all()
    assert ((leaves >= 0) == (ranks >= 0)).all()
    assert (certified == np.asarray(wanted.certified)).all()


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("nodes", [True, False])
def test_results_are_those_of_beam_search(
    normalise: Literal["catalogue", "full"], nodes: bool
) -> None:
    state = make_state(nodes=nodes)
    model = make_model(state, normalise=normalise, user_vector="graph")
    searcher = DeviceSearcher(model, DEVICE)
    for lengths in ([7], [1, 40, 16], [17, 33, 5, 2, 9]):
        request = make_request(state, lengths, users=True)
        for k, width in ((3, 8), (10, 1)):
            wanted = expected(model, state, request, k, width)
            for _ in range(3):  # queued, captured, replayed
                assert_same(searched(searcher, state, request, k, width), wanted)


@pytest.mark.parametrize("attention", ["triton", "reference"])
def test_every_attention_gives_the_same(attention: str) -> None:
    state = make_state()
    model = make_model(state)
    request = make_request(state, [5, 12])
    searcher = DeviceSearcher(model, DEVICE, attention=attention)
    assert_same(searched(searcher, state, request, 3, 6), expected(model, state, request, 3, 6))


def test_filters_of_every_kind_and_size() -> None:
    state = make_state()
    model = make_model(state)
    searcher = DeviceSearcher(model, DEVICE)
    request = make_request(state, [4, 9, 1])
    for seed in range(4):  # other lists in the same memory, and more of them than it holds
        filters = make_filters(state, 3, seed, named=seed % 2 == 0)
        wanted = expected(model, state, request, 5, 20, filters)
        assert_same(searched(searcher, state, request, 5, 20, filters), wanted)
    few = RankFilter.from_lists(
        [np.zeros(0, np.int64)] * 3, [np.arange(2)] * 3, state.catalog.num_leaves
    )
    leaves, scores, _ = searched(searcher, state, request, 5, 20, few)
    assert (np.sort(leaves[:, :2]) == [0, 1]).all()
    assert (leaves[:, 2:] == -1).all()
    assert (scores[:, 2:] == -np.inf).all()


def test_a_batch_above_the_largest_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec_engine.decoding.device_shapes.MOST_USERS", 4)
    state = make_state()
    model = make_model(state)
    request = make_request(state, [3, 1, 5, 2, 20, 4, 8, 6, 9])
    filters = make_filters(state, 9)
    searcher = DeviceSearcher(model, DEVICE)
    wanted = expected(model, state, request, 4, 12, filters)
    for _ in range(2):
        assert_same(searched(searcher, state, request, 4, 12, filters), wanted)


@pytest.mark.parametrize("nodes", [True, False])
def test_edits_are_seen_at_once(tmp_path: Path, nodes: bool) -> None:
    old = make_state(nodes=nodes)
    model = make_model(old)
    searcher = DeviceSearcher(model, DEVICE)
    with edited_state(tmp_path, old) as (live, new):
        last = int(new.catalog.num_leaves) - 1
        live.delete(new.catalog.codes(np.array([last])))
        newest = next_state(live, old, new.vectors)
        for state in (old, new, newest, old):
            request = make_request(state, [5, 30])
            filters = make_filters(state, 2)
            wanted = expected(model, state, request, 10, 30)
            restricted = expected(model, state, request, 10, 30, filters)
            for _ in range(3):
                assert_same(searched(searcher, state, request, 10, 30), wanted)
                assert_same(searched(searcher, state, request, 10, 30, filters), restricted)


def test_vectors_that_are_appended_are_found(tmp_path: Path) -> None:
    """Later states share the memory of earlier ones up to their end."""
    state = make_state()
    model = make_model(state)
    searcher = DeviceSearcher(model, DEVICE)
    room = torch.cat([state.vectors, torch.randn(50, WIDTH)])
    with edited_state(tmp_path, state) as (live, new):
        for known in (len(state.vectors), len(state.vectors) + 20, len(room)):
            grown = next_state(live, state, torch.cat([new.vectors, room])[: len(new.vectors)])
            grown.vectors = room[:known]
            grown.nodes = new.nodes
            request = Request(np.arange(known - 6, known), np.array([2, 4]))
            wanted = expected(model, grown, request, 5, 20)
            assert_same(searched(searcher, grown, request, 5, 20), wanted)


def test_bf16_is_close() -> None:
    state = make_state()
    model = make_model(state)
    request = make_request(state, [8, 20, 3])
    wanted = expected(model, state, request, 5, 40)
    searcher = DeviceSearcher(model, DEVICE, dtype="bf16")
    leaves, scores, _ = searched(searcher, state, request, 5, 40)
    np.testing.assert_allclose(scores, np.asarray(wanted.scores), atol=0.3)
    common = [len(set(a) & set(b)) for a, b in zip(leaves, np.asarray(wanted.ranks), strict=True)]
    assert sum(common) >= 10


def test_the_model_is_left_alone() -> None:
    state = make_state()
    model = make_model(state)
    before = [p.clone() for p in model.parameters()]
    searcher = DeviceSearcher(model, DEVICE, dtype="bf16")
    assert len(searcher.model.item_vectors) == 0
    assert len(model.item_vectors) == len(state.vectors)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert model.encoder.layers[0].backend == "reference"


def test_what_cannot_be_answered_is_named() -> None:
    state = make_state()
    model = make_model(state)
    searcher = DeviceSearcher(model, DEVICE)
    for lengths in ([3, 41], [0, 2]):
        with pytest.raises(ConfigError, match="no length that the model takes"):
            searched(searcher, state, make_request(state, lengths), 3, 5)
    with pytest.raises(ConfigError, match="fp32, bf16"):
        DeviceSearcher(model, DEVICE, dtype="fp8")  # type: ignore[arg-type]
    torch.nn.init.constant_(model.head.columns[1].bias, float("nan"))
    broken = DeviceSearcher(model, DEVICE)
    with pytest.raises(ConfigError, match="NaN"):
        searched(broken, state, make_request(state, [3]), 3, 5)


def test_nobody_asks() -> None:
    state = make_state()
    searcher = DeviceSearcher(make_model(state), DEVICE)
    leaves, scores, certified = searched(searcher, state, make_request(state, []), 3, 5)
    assert leaves.shape == scores.shape == (0, 3)
    assert certified.shape == (0,)


def test_plans_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_search, "MOST_PLANS", 2)
    state = make_state()
    model = make_model(state)
    searcher = DeviceSearcher(model, DEVICE)
    for width in (3, 4, 5, 3, 4, 5, 5):
        request = make_request(state, [4])
        wanted = expected(model, state, request, 2, width)
        assert_same(searched(searcher, state, request, 2, width), wanted)
        plans = searcher._plans
        assert isinstance(plans, MostRecent)
        assert len(plans.values()) <= 2


@needs_gpu
def test_the_second_request_is_captured_and_replays_equal_the_queued_kernels() -> None:
    state = make_state()
    model = make_model(state)
    graphs, queued = DeviceSearcher(model, DEVICE), DeviceSearcher(model, DEVICE, graphs=False)
    for turn in range(4):
        request = make_request(state, [6, 20, 1], seed=turn)
        filters = make_filters(state, 3, seed=0)
        found = searched(graphs, state, request, 5, 20, filters)
        wanted = searched(queued, state, request, 5, 20, filters)
        assert graphs.captured == (turn > 0)
        assert queued.captured == 0
        for ours, theirs in zip(found, wanted, strict=True):
            assert (ours == theirs).all()


@needs_gpu
def test_nothing_waits_between_the_request_and_its_results() -> None:
    state = make_state()
    model = make_model(state)
    for searcher in (DeviceSearcher(model, DEVICE), DeviceSearcher(model, DEVICE, graphs=False)):
        request = make_request(state, [6, 20, 1])
        filters = make_filters(state, 3)
        wanted = expected(model, state, request, 5, 20, filters)
        for _ in range(3):
            searched(searcher, state, request, 5, 20, filters)
        part = Part(request.slots, request.lengths, None, filters)
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.no_grad():
                plan = searcher.enqueue(state, part, 20)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found = searcher.read(plan, 3)
        np.testing.assert_allclose(found.scores[:, :5], np.asarray(wanted.scores), atol=TOLERANCE)


@needs_gpu
def test_an_edit_drops_the_graphs(tmp_path: Path) -> None:
    state = make_state()
    model = make_model(state)
    searcher = DeviceSearcher(model, DEVICE)
    request = make_request(state, [6, 20, 1])
    for width in (8, 9):
        for _ in range(2):
            searched(searcher, state, request, 3, width)
    assert searcher.captured == 2
    with edited_state(tmp_path, state) as (_, new):
        wanted = expected(model, new, request, 3, 8)
        for turn in range(3):
            assert_same(searched(searcher, new, request, 3, 8), wanted)
            assert searcher.captured == (turn > 0)
