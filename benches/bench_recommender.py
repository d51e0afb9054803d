"""The native recommender: one user a call against the arithmetic floor, 64 users against torch.

The model of the target: width 64, 2 + 2 layers, 4 heads of 16, feed-forward 256, histories of 32,
10^6 items of 4 levels of 256 tokens. ``of_floor`` in the report is the fastest round's time over
what its products take at the rate of a large float32 `torch.mm` on one thread in the same run.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec.profiling.roof import measure_roof
from mmgrec.profiling.timing import keep_freed_memory, threads
from mmgrec.profiling.trie_catalogues import random_catalogue
from mmgrec_engine import _native
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.beam_search import beam_search
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

USERS, LENGTH, K, WIDTH = 64, 32, 10, 64


@dataclass(frozen=True, eq=False)
class Setting:
    """A random model of a random catalogue, and histories."""

    model: Recommender
    trie: Trie
    histories: NDArray[np.int64]

    def native(self, precision: str) -> Any:  # noqa: ANN401 - a class of the core
        """Pack the model."""
        config = self.model.config
        shape = {
            **config.model_dump(include={"width", "heads", "head_width", "feed_forward"}),
            **config.model_dump(include={"encoder_layers", "decoder_layers", "node_vectors"}),
            "item_width": WIDTH,
            "level_sizes": self.model.level_sizes,
            "softmax_over_level": False,
            "graph_users": False,
            "history_decay": 1.0,
        }
        weights = {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}
        try:
            return _native.Recommender(shape, weights, self.vectors, precision)
        except ValueError as error:
            pytest.skip(str(error))

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``[N, D]``."""
        found: NDArray[np.float32] = self.model.item_vectors.numpy()
        return found

    def arguments(self, histories: NDArray[np.int64], beams: int, threads: int) -> tuple[Any, ...]:
        """What `recommend` and `stages` take."""
        offsets = np.arange(len(histories) + 1) * LENGTH
        items = np.ascontiguousarray(histories).reshape(-1)
        return (self.trie.native, self.vectors, items, offsets, None, None, None, K, beams, threads)


@functools.lru_cache(maxsize=1)
def setting() -> Setting:
    keep_freed_memory()
    torch.manual_seed(0)
    trie = random_catalogue("uniform", 10**6).trie
    vectors = torch.nn.functional.normalize(torch.randn(trie.num_items, WIDTH), dim=1)
    config = RecommenderConfig(width=WIDTH, feed_forward=256, node_vectors=False)
    model = Recommender(config, trie.level_sizes, vectors).eval()
    histories = np.random.default_rng(0).integers(0, trie.num_items, (USERS, LENGTH))
    return Setting(model, trie, histories)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("beams", [10, 20, 50])
def test_one_user(benchmark: BenchmarkFixture, beams: int, precision: str) -> None:
    made = setting()
    native = made.native(precision)
    calls = [made.arguments(history[None], beams, 1) for history in made.histories]
    benchmark.group = f"64 calls of one user, M{beams}"
    flops = sum(stage[2] for call in calls for stage in native.stages(*call))

    def run() -> None:
        for call in calls:
            native.recommend(*call)

    with threads(1):
        roof = measure_roof((1,)).flops_per_s[1]
        benchmark.pedantic(run, rounds=10, warmup_rounds=2)
    floor = flops / roof
    benchmark.extra_info.update(
        flops=flops / USERS, floor_us=floor / USERS * 1e6, of_floor=benchmark.stats["min"] / floor
    )


@pytest.mark.parametrize("method", ["native", "torch"])
@pytest.mark.parametrize("beams", [10, 50])
@pytest.mark.parametrize("count", [1, 2])
def test_a_batch(benchmark: BenchmarkFixture, count: int, beams: int, method: str) -> None:
    made = setting()
    call = made.arguments(made.histories, beams, count)
    native = made.native("fp32")
    items = torch.from_numpy(made.histories)
    lengths = torch.full((USERS,), LENGTH)

    @torch.no_grad()
    def in_torch() -> NDArray[np.int64]:
        memory = made.model.encode(items, lengths)
        found = beam_search(made.model, made.trie, None, memory, k=K, beam_width=beams)
        return found.ranks

    def in_core() -> NDArray[np.int64]:
        leaves: NDArray[np.int64] = native.recommend(*call)[0]
        return leaves

    with threads(count):
        assert (in_torch() == in_core()).mean() > 0.999
        benchmark.group = f"64 users, M{beams}, {count} threads"
        run = in_core if method == "native" else in_torch
        benchmark.pedantic(run, rounds=7, warmup_rounds=2)
