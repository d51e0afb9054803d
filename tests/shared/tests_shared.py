"""Makers of small data, configurations and models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.console import Console

from mmgrec.data.dataset import Dataset, Modality
from mmgrec.data.splits import assign_split
from mmgrec.training.graph import GraphTraining
from mmgrec.training.loop import LoopConfig
from mmgrec.training.presets import TrainConfig
from mmgrec.training.quantizer import QuantizerTraining
from mmgrec.training.recommender import RecommenderTraining
from mmgrec.training.reporter import Reporter
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.beam_search import beam_search
from mmgrec_engine.decoding.exact import EXACT_LIMIT, exact_search
from mmgrec_engine.decoding.searcher import SearchResult
from mmgrec_engine.decoding.torch_search import TorchExpander
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import GraphEncoderConfig, RecommenderConfig
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.models.rqvae import RQVAEConfig

# One item; two levels; skewed (power 4 crowds low tokens); wide tokens; eight levels; duplicates of
# prefixes everywhere.
CATALOGUES: dict[str, tuple[list[int], int, float]] = {
    "one": ([1, 1], 1, 1.0),
    "two levels": ([7, 9], 40, 1.0),
    "skewed": ([16, 16, 16], 300, 4.0),
    "wide": ([300, 5, 4000], 200, 1.0),
    "sparse second level": ([5000, 5000, 3], 100, 1.0),
    "eight": ([2, 3, 2, 3, 2, 3, 2, 3], 150, 1.0),
}

LOCAL_RAY = {
    "num_cpus": 2,
    "include_dashboard": False,
    "log_to_driver": False,
    "configure_logging": False,
    "object_store_memory": 100 * 2**20,
}
"""Arguments of `ray.init` for a cluster in this machine."""


def make_trie(sizes: list[int], items: int, power: float, seed: int = 0) -> Trie:
    """A random trie; a higher power crowds low tokens."""
    rng = np.random.default_rng(seed)
    draw = rng.random((items, len(sizes))) ** power
    codes = np.unique((draw * sizes).astype(np.int32), axis=0)
    return Trie.build(codes, sizes)[0]


def walk_beams(
    positions: int,
    users: int,
    width: int,
    heads: int,
    head_width: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Positions of a search: number, qkv ``[B, M, 3, H, K]``, parents ``[T, B, W]`` so far.

    One beam, then ``width``; parents repeat, die out and change places.
    """
    g = torch.Generator().manual_seed(width)
    parents = torch.full((positions, users, width), -1, dtype=torch.int32)
    beams = 1
    for position in range(positions):
        if position > 0:
            parents[position] = torch.randint(beams, (users, width), generator=g)
            beams = width
        qkv = torch.randn(users, beams, 3, heads, head_width, dtype=dtype, generator=g)
        yield position, qkv, parents


def make_dataset(
    num_users: int = 60, num_items: int = 40, *, seed: int = 0, strings: bool = True
) -> Dataset:
    """Users of two tastes, each drawing from its half of the items; features tell the halves."""
    rng = np.random.default_rng(seed)
    pairs = []
    for user in range(num_users):
        weights = np.where(np.arange(num_items) % 2 == user % 2, 9.0, 1.0)
        count = int(rng.integers(3, 13))
        chosen = rng.choice(num_items, count, replace=False, p=weights / weights.sum())
        pairs += [(user, int(item)) for item in chosen]
    table = pl.DataFrame(pairs, schema={"user_row": pl.Int32, "item_row": pl.Int32}, orient="row")
    table = table.with_columns(pl.Series("split", assign_split(table, "random", seed)))
    values = rng.normal(size=(num_items, 6)).astype(np.float32)
    values[:, 0] += 3.0 * (np.arange(num_items) % 2)
    present = np.arange(num_items) != 5
    values[~present] = 0
    ids = [f"i{row:02d}" if strings else row + 100 for row in range(num_items)]
    users = [f"u{row}" if strings else row + 7 for row in range(num_users)]
    items = pl.DataFrame({"item": ids, "title": [f"Title {row}" for row in range(num_items)]})
    modalities = {"visual": Modality(values, present)}
    return Dataset("toy", pl.DataFrame({"user": users}), items, table, modalities)


def small_config(**recommender: object) -> TrainConfig:
    """A configuration that trains in seconds."""
    return TrainConfig(
        graph=GraphEncoderConfig(width=16, layers=1, neighbours=3, members=2, item_ridge=True),
        graph_training=GraphTraining(
            loop=LoopConfig(epochs=15, learning_rate=0.02, warmup_steps=0, patience=20)
        ),
        quantizer=RQVAEConfig(method="rqkmeans", codebook_size=6, semantic_levels=2),
        quantizer_training=QuantizerTraining(
            loop=LoopConfig(epochs=10, learning_rate=1e-2, validate_every=5), warmup_epochs=2
        ),
        recommender=RecommenderConfig(
            width=16, heads=2, head_width=8, feed_forward=32, max_history=32, **recommender
        ),
        recommender_training=RecommenderTraining(
            loop=LoopConfig(epochs=4, learning_rate=5e-3, warmup_steps=2, validate_start=True),
            batch_users=16,
        ),
    )


def quiet_reporter(folder: Path) -> Reporter:
    """A reporter that shows nothing."""
    return Reporter(Console(quiet=True), folder)


class SearchWorld:
    """A random model over a random catalogue, and the scores of all items by brute force.

    ``power`` above 1 crowds the items into low tokens; ``flat`` makes every head constant, so that
    siblings tie.
    """

    def __init__(
        self,
        sizes: list[int],
        items: int,
        seed: int,
        *,
        power: float = 1.0,
        flat: bool = False,
        **options: object,
    ) -> None:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        draw = rng.random((items, len(sizes))) ** power
        codes = np.unique((draw * sizes).astype(np.int32), axis=0)
        self.trie, _ = Trie.build(codes, sizes)
        vectors = rng.normal(size=(len(codes), 6)).astype(np.float32)
        config = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8, **options)
        self.model = Recommender(config, sizes, torch.from_numpy(vectors)).eval()
        if flat:
            for parameter in self.model.head.parameters():
                torch.nn.init.zeros_(parameter)
        self.nodes = NodeVectors.of(codes, vectors) if config.node_vectors else None
        n = len(codes)
        with torch.no_grad():
            lengths = torch.tensor([1, min(n, 4), min(n, 2)])
            self.memory: Memory = self.model.encode(torch.randint(n, (3, 4)), lengths)
            flat_scores = self.model.log_prob(
                self.memory,
                torch.arange(n).expand(3, n),
                torch.ones(3, n, dtype=torch.bool),
                CatalogSoftmax(codes, vectors, config.normalise),
            )
        self.scores = flat_scores.view(3, n)

    def search(
        self,
        k: int,
        beam_width: int,
        filters: RankFilter | None = None,
        backend: str = "native",
    ) -> SearchResult:
        """Beam search."""
        return beam_search(
            self.model,
            self.trie,
            self.nodes,
            self.memory,
            k=k,
            beam_width=beam_width,
            filters=filters,
            backend=backend,
        )

    def exact(
        self,
        k: int,
        beam_width: int,
        filters: RankFilter | None = None,
        backend: str = "native",
        max_prefixes: int = EXACT_LIMIT,
    ) -> SearchResult:
        """Exact search."""
        expander = TorchExpander(self.model, self.trie, self.nodes, self.memory, filters, backend)
        return exact_search(expander, k=k, beam_width=beam_width, max_prefixes=max_prefixes)
