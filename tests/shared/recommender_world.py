"""Random recommenders, asked natively and in torch.

Scores agree within `TOLERANCE`, log-probabilities of sums over up to eight levels in float32. Items
stand in the same order but where scores tie within it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.beam_search import beam_search
from mmgrec_engine.decoding.searcher import SearchResult
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender

TOLERANCE = 1e-4

Rows = NDArray[np.int64] | None


@dataclass
class World:
    """A random model with weights far from their starts, and a catalogue."""

    model: Recommender
    catalog: Searchable
    nodes: NodeVectors | None
    item_vectors: NDArray[np.float32]
    native: Any = field(init=False)

    def __post_init__(self) -> None:
        self.native = native_of(self.model)

    def histories(self, count: int, lengths: list[int], seed: int) -> list[NDArray[np.int64]]:
        """Draw histories whose lengths take turns."""
        rng, n = np.random.default_rng(seed), len(self.item_vectors)
        return [rng.integers(0, n, lengths[i % len(lengths)]) for i in range(count)]

    def node_arguments(self) -> tuple[object, ...] | None:
        """Node tables as the binding takes them."""
        if self.nodes is None:
            return None
        nodes = self.nodes
        return [*nodes.vectors], [*nodes.starts], nodes.added_sums, nodes.removed_sums

    def recommend(
        self,
        histories: list[NDArray[np.int64]],
        k: int,
        width: int,
        rows: Rows = None,
        filters: RankFilter | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Call the native recommender."""
        prepared = None if filters is None else filters.prepared(self.catalog)
        found: Any = self.native.recommend(
            self.catalog.native,
            self.item_vectors,
            np.concatenate(histories),
            offsets_of(histories),
            rows,
            self.node_arguments(),
            prepared,
            k,
            width,
            threads,
        )
        return found

    def encode_torch(self, histories: list[NDArray[np.int64]], rows: Rows) -> Memory:
        """Encode with torch."""
        lengths = torch.tensor([len(h) for h in histories])
        items = torch.zeros(len(histories), int(lengths.max()), dtype=torch.int64)
        for row, history in zip(items, histories, strict=True):
            row[: len(history)] = torch.from_numpy(history)
        users = None if rows is None else torch.from_numpy(rows)
        with torch.no_grad():
            return self.model.encode(items, lengths, users, torch.from_numpy(self.item_vectors))

    def expected(
        self,
        histories: list[NDArray[np.int64]],
        k: int,
        width: int,
        rows: Rows = None,
        filters: RankFilter | None = None,
    ) -> SearchResult:
        """Beam search with the torch model."""
        memory = self.encode_torch(histories, rows)
        return beam_search(
            self.model, self.catalog, self.nodes, memory, k=k, beam_width=width, filters=filters
        )

    def check(
        self, histories: list[NDArray[np.int64]], k: int, width: int, **options: object
    ) -> None:
        """Compare the two."""
        leaves, scores, certified = self.recommend(histories, k, width, **options)
        options.pop("threads", None)
        same_results(leaves, scores, certified, self.expected(histories, k, width, **options))


def offsets_of(histories: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Where each history begins, and the end."""
    return np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64)


def same_results(
    leaves: NDArray[np.int64],
    scores: NDArray[np.float32],
    certified: NDArray[np.bool_],
    expected: SearchResult,
) -> None:
    """Hold results against torch's, as the docstring above says."""
    wanted, wanted_scores = expected.ranks, expected.scores
    np.testing.assert_allclose(scores, wanted_scores, atol=TOLERANCE, rtol=1e-5)
    assert np.array_equal(leaves < 0, wanted < 0)
    for user in range(len(leaves)):
        score_of = dict(zip(wanted[user], wanted_scores[user], strict=True))
        assert len(set(leaves[user][leaves[user] >= 0])) == (leaves[user] >= 0).sum()
        for leaf, score in zip(leaves[user], scores[user], strict=True):
            # An item that the other search cut off can only tie with its last one.
            wanted_score = score_of.get(leaf, wanted_scores[user, -1])
            assert leaf < 0 or abs(wanted_score - score) < TOLERANCE + 1e-5 * abs(score)
    assert np.array_equal(certified, expected.certified)


def native_of(model: Recommender, precision: str = "fp32") -> Any:  # noqa: ANN401 - a class of the core
    """Build the native recommender from a torch one."""
    config = model.config
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = {
        "width": config.width,
        "item_width": model.item_vectors.shape[1],
        "heads": config.heads,
        "head_width": config.head_width,
        "feed_forward": config.feed_forward,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "level_sizes": model.level_sizes,
        "node_vectors": config.node_vectors,
        "softmax_over_level": config.normalise == "full",
        "graph_users": config.user_vector == "graph",
        "history_decay": float(model.history_decay),
    }
    return _native.Recommender(shape, weights, model.item_vectors.numpy(), precision)


def make_world(
    sizes: list[int],
    items: int,
    seed: int,
    *,
    item_width: int = 6,
    users: int = 0,
    **config: object,
) -> World:
    """A random model over a random catalogue."""
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, sizes, (items, len(sizes)), dtype=np.int32), axis=0)
    trie, _ = Trie.build(codes, sizes)
    vectors = rng.normal(size=(len(codes), item_width)).astype(np.float32)
    model = make_model(sizes, vectors, seed, users, **config)
    nodes = NodeVectors.of(codes, vectors) if model.config.node_vectors else None
    return World(model, trie, nodes, vectors)


def make_model(
    sizes: list[int], vectors: NDArray[np.float32], seed: int, users: int = 0, **config: object
) -> Recommender:
    """A random model; ``users`` have vectors of their own."""
    torch.manual_seed(seed)
    known = torch.randn(users, vectors.shape[1]) if users else None
    model = Recommender(RecommenderConfig(**config), sizes, torch.from_numpy(vectors), known).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms and biases start as constants, which would hide that one is left out.
            if name.endswith("bias") or "norm" in name or "user" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return model
