"""Every searcher gives the same answers to the same requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from triton import knobs

from mmgrec_engine.catalog.filters import NamedSet, RankFilter
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.device_search import DeviceSearcher
from mmgrec_engine.decoding.gpu_search import GpuSearcher
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.decoding.searcher import Request, Searcher, SearchResult
from mmgrec_engine.decoding.torch_search import TorchSearcher
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.model_folder import ModelFolder, load_model_folder
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops import backends
from mmgrec_engine.searchers import choose_searcher
from mmgrec_engine.settings import settings
from tests_shared import make_trie

TOLERANCE = 1e-4
USERS = 6
NO_GPU = next(
    a.reason for a in backends.availability("constrained_topk", "cuda") if a.backend == "cuda"
)


def made(sizes: list[int], items: int, **options: object) -> ModelFolder:
    """A model with random weights."""
    torch.manual_seed(0)
    trie = make_trie(sizes, items, 1.5)
    config = RecommenderConfig(width=12, heads=3, head_width=8, feed_forward=20, **options)
    vectors = torch.randn(trie.num_items, 10)
    users = torch.randn(USERS, 10) if config.user_vector == "graph" else None
    model = Recommender(config, sizes, vectors, users)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    table = pl.DataFrame({"item": np.arange(trie.num_items)})
    ids = None if users is None else pl.Series("user", range(USERS))
    return ModelFolder.of_model(model, trie, table, ids)


FOLDERS: dict[str, Callable[[Path], ModelFolder]] = {
    "trained": load_model_folder,
    "node vectors": lambda _: made([16, 16, 5], 300),
    "full": lambda _: made([8, 8, 8], 200, normalise="full"),
    "no node vectors": lambda _: made([16, 3, 4, 3], 250, node_vectors=False),
    "graph users": lambda _: made([20, 20, 3], 300, user_vector="graph", encoder_layers=1),
    "three layers": lambda _: made([4, 30], 100, encoder_layers=3, decoder_layers=3),
}


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, run_folder: Path) -> ModelFolder:
    return FOLDERS[request.param](run_folder)


def state_of(folder: ModelFolder) -> CatalogState:
    vectors = folder.weights["item_vectors"]
    nodes = NodeVectors.of(folder.trie.codes(), vectors) if folder.config.node_vectors else None
    return CatalogState(folder.trie, IdTable("item", folder.items["item"]), vectors, nodes=nodes)


def requests(folder: ModelFolder, seed: int = 0) -> list[Request]:
    """Histories of 1 to 30 items, with and without filters and users."""
    rng = np.random.default_rng(seed)
    n = folder.trie.num_items
    lengths = rng.integers(1, 31, USERS)
    slots = np.concatenate([rng.choice(n, length, replace=False) for length in lengths])
    plain = Request(slots, np.cumsum([0, *lengths]), None, None, k=5, beam_width=12)
    seen = np.split(slots, plain.offsets[1:-1])
    deny = RankFilter.from_lists(seen, None, n)
    allow = [None, *(rng.integers(0, n, 20) for _ in range(USERS - 1))]
    half = NamedSet(LeafSet.of(np.arange(0, n, 2), n), LeafSet.all(0))
    both = RankFilter.from_lists(seen, allow, n, named=half)
    return [
        plain,
        replace(plain, filters=deny, k=20),
        replace(plain, filters=both, beam_width=3),
        replace(plain, user_rows=np.array([0, -1, 2, 5, -1, 1]), filters=deny),
        replace(plain, k=n, beam_width=1),
    ]


def assert_same(found: SearchResult, expected: SearchResult) -> None:
    """Same scores; same items, best first, but for those whose scores are ties."""
    np.testing.assert_allclose(found.scores, expected.scores, atol=TOLERANCE, rtol=1e-5)
    gap = np.diff(expected.scores.clip(-1e9), axis=1, prepend=1e9, append=-2e9)
    clear = (np.abs(gap[:, :-1]) > 2 * TOLERANCE) & (np.abs(gap[:, 1:]) > 2 * TOLERANCE)
    clear[:, -1] = False  # the next one may tie with it
    assert clear.mean() > 0.5
    assert (found.ranks[clear] == expected.ranks[clear]).all()
    assert ((found.ranks >= 0) == (expected.ranks >= 0)).all()


def other(folder: ModelFolder, backend: str) -> Searcher:
    try:
        return TorchSearcher(folder.model(), backend)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("backend", ["reference", "native", "triton"])
def test_all_give_the_same(folder: ModelFolder, backend: str) -> None:
    native, torches = choose_searcher(folder), other(folder, backend)
    assert native.backend == "native"
    state = state_of(folder)
    for request in requests(folder)[: 2 if backend == "triton" else None]:
        found, expected = (s.search(state, request) for s in (native, torches))
        assert_same(found, expected)
        assert (found.certified == expected.certified).all()


def test_mapped_vectors_are_copied_for_torch_and_only_once(run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    searcher, state = TorchSearcher(folder.model(), "reference"), state_of(folder)
    assert not state.vectors.flags.writeable
    first = searcher._vectors_of(state)
    assert not np.shares_memory(first.cpu().numpy(), state.vectors)
    assert searcher._vectors_of(state) is first
    edited = replace(state, vectors=state.vectors * 2)
    assert torch.equal(searcher._vectors_of(edited), 2 * first)


def on_device(folder: ModelFolder) -> GpuSearcher:
    """What a GPU runs; where there is none, the same without graphs."""
    if NO_GPU:
        return GpuSearcher(
            DeviceSearcher(folder.model(), "cpu", attention="reference"), native_of(folder)
        )
    found = choose_searcher(folder, device="cuda")
    assert isinstance(found, GpuSearcher)
    return found


def native_of(folder: ModelFolder) -> NativeSearcher:
    found = choose_searcher(folder)
    assert isinstance(found, NativeSearcher)
    return found


def test_a_device_gives_the_same(folder: ModelFolder) -> None:
    native, device = choose_searcher(folder), on_device(folder)
    state = state_of(folder)
    for request in requests(folder):
        shown = replace(request, user_rows=request.user_rows if folder.users is not None else None)
        for _ in range(1 if NO_GPU else 3):  # queued, captured, replayed
            found, expected = (s.search(state, shown) for s in (device, native))
            assert_same(found, expected)
    exact = replace(requests(folder)[1], exact_limit=20_000)
    assert_same(device.search(state, exact), native.search(state, exact))


@pytest.mark.skipif(bool(NO_GPU), reason=str(NO_GPU))
def test_an_engine_on_a_gpu_follows_edits(run_folder: Path, tmp_path: Path) -> None:
    engines = []
    for device in ("cpu", "cuda"):
        copy = shutil.copytree(run_folder, tmp_path / device)
        engines.append(Engine.load(copy, device=device))
    rng = np.random.default_rng(0)
    width = engines[0].item_width
    history = [list(engines[0].item_ids.ids(np.arange(3)))]
    for turn in range(4):
        vector = rng.standard_normal((1, width)).astype(np.float32)
        for engine in engines:
            engine.insert([f"new {turn}"], vectors=vector / np.linalg.norm(vector))
        for _ in range(3):
            found, expected = (e.recommend(history, k=5) for e in engines[::-1])
            assert found.items.tolist() == expected.items.tolist()
            np.testing.assert_allclose(found.scores, expected.scores, atol=TOLERANCE)


def test_exact_searches_give_the_same(folder: ModelFolder) -> None:
    native, torches = choose_searcher(folder), other(folder, "native")
    state = state_of(folder)
    for request in requests(folder, seed=1):
        request = replace(request, exact_limit=20_000)
        found, expected = (s.search(state, request) for s in (native, torches))
        assert_same(found, expected)
        assert found.certified.all()
        assert found.expanded is not None
        assert (found.expanded > 0).all()


def test_known_users_are_shown_by_their_vectors(run_folder: Path) -> None:
    folder = FOLDERS["graph users"](run_folder)
    engines = [Engine(folder), Engine(folder, backend="reference")]
    scores = []
    for users in ([3], [99], None):  # the second is unknown
        native, reference = (e.recommend([[0, 7, 9]], users=users, k=6) for e in engines)
        assert native.items.tolist() == reference.items.tolist()
        np.testing.assert_allclose(native.scores, reference.scores, atol=TOLERANCE)
        scores.append(native.scores)
    assert np.array_equal(scores[1], scores[2])
    assert np.abs(scores[0] - scores[1]).max() > 0.01


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrow_weights_find_nearly_the_same(run_folder: Path, precision: str) -> None:
    folder = load_model_folder(run_folder)
    try:
        narrow = choose_searcher(folder, precision=precision)
    except ConfigError as error:
        pytest.skip(str(error))
    state, request = state_of(folder), requests(folder)[0]
    found, expected = (s.search(state, request) for s in (narrow, choose_searcher(folder)))
    assert np.median(np.abs(found.scores - expected.scores)) < 0.1
    shared = [len({*a} & {*b}) for a, b in zip(found.ranks, expected.ranks, strict=True)]
    assert np.mean(shared) > 4
    # Beams as wide as the catalogue and the exact search use the same numbers.
    wide = narrow.search(state, replace(request, k=10, beam_width=40))
    exact = narrow.search(state, replace(request, k=10, exact_limit=20_000))
    assert (wide.ranks == exact.ranks).mean() > 0.9
    np.testing.assert_allclose(exact.scores, wide.scores, atol=0.05)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(folder: ModelFolder, threads: int) -> None:
    state = state_of(folder)
    one, many = (choose_searcher(folder, threads=count) for count in (1, threads))
    for request in requests(folder, seed=2):
        for exact_limit in (None, 500):
            request = replace(request, exact_limit=exact_limit)
            found, expected = (s.search(state, request) for s in (many, one))
            assert (found.ranks == expected.ranks).all()
            assert (found.scores == expected.scores).all()


def test_bad_choices_are_named(run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    for options, kind, message in [
        ({"backend": "abacus"}, BackendError, "unknown backend"),
        ({"device": "tpu"}, BackendError, "unknown device"),
        ({"backend": "cuda"}, BackendError, "constrained_topk cannot run on 'cuda'"),
        ({"precision": "fp8"}, ConfigError, "precision: fp8"),
        ({"threads": 0}, ConfigError, "threads is out of range"),
        ({"backend": "reference", "precision": "int8"}, ConfigError, "no precision"),
        ({"backend": "reference", "threads": 2}, ConfigError, "no precision"),
    ]:
        with pytest.raises(kind, match=message):
            choose_searcher(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["native", "reference", "triton", "cuda"])
def test_the_environment_chooses(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where the environment forces what the CPU has not, the best that it has is taken."""
    monkeypatch.setattr(knobs.runtime, "interpret", name == "triton")
    monkeypatch.setattr(backends._native, "build_info", lambda: {"cuda": "90"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda")
    monkeypatch.setenv("MMGREC_BACKEND", name)
    settings.cache_clear()
    try:
        folder = load_model_folder(run_folder)
        assert choose_searcher(folder).backend == ("native" if name == "cuda" else name)
        monkeypatch.setattr(knobs.runtime, "interpret", False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        if name == "triton":  # there is a GPU, but it is not asked for
            assert choose_searcher(folder).backend == "native"
        assert choose_searcher(folder, backend="reference").backend == "reference"
    finally:
        settings.cache_clear()


def test_a_gpu_that_is_not_there_is_named(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no GPU here"):
        choose_searcher(load_model_folder(run_folder), device="cuda")
