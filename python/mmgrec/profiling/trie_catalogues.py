"""Catalogues for the trie's benchmarks: 4 levels of 256 tokens, even, random or skewed."""

from __future__ import annotations

import atexit
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec.profiling.trie_keys import SIZES, codes_of
from mmgrec_engine.catalog.trie import Trie

SKEWS = {"uniform": 1.0, "skewed": 3.0}
"""Powers of a uniform draw: 1 gives every token its share, 3 gives token 0 a sixth of all."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The same items as our trie and as the baseline's."""

    trie: Trie
    csr: CsrTrie

    def deny(self, users: int, count: int) -> list[NDArray[np.int64]]:
        """Draw so many distinct leaf ranks per user."""
        rng = np.random.default_rng(1)
        items = self.trie.num_items
        return [rng.choice(items, min(count, items // 2), replace=False) for _ in range(users)]


@functools.lru_cache(maxsize=len(SKEWS))
def random_catalogue(kind: str, items: int) -> Catalogue:
    """Draw ``items`` Rec-IDs and drop the repeated ones; the kinds are those of `SKEWS`."""
    draw = np.random.default_rng(0).random((items, len(SIZES))) ** SKEWS[kind]
    tokens = (draw * SIZES[0]).astype(np.uint8)
    codes = codes_of(np.unique(tokens.view(">u4").ravel()).astype(np.uint32))
    trie, _ = Trie.build(codes, SIZES)
    return Catalogue(trie, CsrTrie(codes))


# What a cache still holds when the interpreter ends, the core reports as leaked.
atexit.register(random_catalogue.cache_clear)
