"""Random models over large random catalogues: what requests are timed on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mmgrec.profiling.engine_hf import HuggingFaceRecommender
from mmgrec.profiling.engine_torch import torch_search
from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec.profiling.trie_keys import SIZES, codes_of, distinct_keys
from mmgrec_engine import _native
from mmgrec_engine.catalog.trie import Trie, TrieBuilder
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

LENGTH, K = 32, 10
CONFIG = RecommenderConfig(
    width=64,
    heads=4,
    head_width=16,
    feed_forward=256,
    encoder_layers=2,
    decoder_layers=2,
    dropout=0.0,
    max_history=LENGTH,
    node_vectors=False,
)
"""Two and two layers of width 64; the head of the paper, which Hugging Face's model has as well."""

CLUSTERS = 1000
"""Of the item vectors: embeddings have neighbours; of independent draws no index finds any."""


class World:
    """A catalogue of N items with random Rec-IDs, item vectors and weights.

    Every method gives a call without arguments that recommends to the same users.
    """

    def __init__(self, items: int, config: RecommenderConfig = CONFIG) -> None:
        self.items = items
        builder = TrieBuilder(SIZES)
        for keys in distinct_keys(items):
            builder.add(codes_of(keys))
        self.trie: Trie = builder.finish(threads=torch.get_num_threads())[0]
        self.vectors = clustered_vectors(items, config.width)
        torch.manual_seed(0)
        self.model = Recommender(config, SIZES, torch.from_numpy(self.vectors))
        self.model.eval().requires_grad_(False)
        self._packed: dict[str, _native.Recommender] = {}

    @cached_property
    def csr(self) -> CsrTrie:
        """The same catalogue for the baselines."""
        return CsrTrie(self.trie.codes())

    @cached_property
    def hugging_face(self) -> HuggingFaceRecommender:
        """T5 of the model's shape."""
        return HuggingFaceRecommender(self.model.config, SIZES, self.csr)

    def histories(self, users: int) -> NDArray[np.int64]:
        """Draw ``[B, L]`` items."""
        return np.random.default_rng(1).integers(0, self.items, (users, LENGTH))

    def native(
        self, users: int, width: int, precision: str = "fp32"
    ) -> Callable[[], NDArray[np.int64]]:
        """One native call per batch; returns leaf ranks ``[B, K]``."""
        recommender = self.recommender(precision)
        flat = self.histories(users).ravel()
        offsets = np.arange(users + 1, dtype=np.int64) * LENGTH

        def call() -> NDArray[np.int64]:
            leaves, _, _ = recommender.recommend(
                self.trie.native,
                self.vectors,
                flat,
                offsets,
                None,
                None,
                None,
                keep=K,
                width=width,
                threads=torch.get_num_threads(),
            )
            return leaves

        return call

    @cached_property
    def narrow(self) -> tuple[str, ...]:
        """Which of bf16 and int8 this processor has."""
        found = []
        for precision in ("bf16", "int8"):
            with suppress(ConfigError):
                self.recommender(precision)
                found.append(precision)
        return tuple(found)

    def recommender(self, precision: str = "fp32") -> _native.Recommender:
        """Return the packed weights; they are packed once."""
        if precision not in self._packed:
            weights = {name: x.numpy() for name, x in self.model.state_dict().items()}
            searcher = NativeSearcher(
                self.model.config, SIZES, weights, precision=precision, threads=1
            )
            self._packed[precision] = searcher.recommender
        return self._packed[precision]

    def torch(self, users: int, width: int) -> Callable[[], NDArray[np.int64]]:
        """Batched torch with kept keys and values and a tree of tensors."""
        items = torch.from_numpy(self.histories(users))
        lengths = torch.full((users,), LENGTH)

        def call() -> NDArray[np.int64]:
            _, leaves = torch_search(self.model, self.csr, items, lengths, width)
            return leaves[:, :K].numpy()

        return call

    def generate(self, users: int, width: int) -> Callable[[], NDArray[np.int64]]:
        """Hugging Face `generate` with a function that names the allowed tokens."""
        inputs = torch.from_numpy(self.vectors[self.histories(users)])

        def call() -> NDArray[np.int64]:
            tokens = self.hugging_face.generate(inputs, K, width)
            return self.trie.lookup(tokens.numpy().astype(np.int32)).reshape(users, K)

        return call


def clustered_vectors(items: int, width: int) -> NDArray[np.float32]:
    """Draw ``[N, D]`` vectors of length 1 around random centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, width), np.float32)
    vectors = np.empty((items, width), np.float32)
    for begin in range(0, items, 2**18):
        part = vectors[begin : begin + 2**18]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= 0.6
        part += centres[rng.integers(0, CLUSTERS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def common_share(found: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    """Return which share of expected results ``[B, K]`` was found."""
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in pairs]))
