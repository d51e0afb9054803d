"""What the engine asks of a search, whoever computes it: arrays in, arrays out.

Shapes: B users, R history items of all users together, k results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.state import CatalogState

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Request:
    """Histories to search for.

    ``slots`` ``[R]``: rows of the state's ``vectors``; user b has ``slots[offsets[b]:offsets[b +
    1]]``, at least one. ``user_rows`` ``[B]`` rows of the model's user vectors, -1 for users
    without one; None: nobody has one. ``filters``: allowed leaves per user. ``beam_width`` is
    raised to k where smaller. ``exact_limit``: prefixes decoded per user after which an exact
    search gives up; None: beam search.
    """

    slots: Ints
    offsets: Ints
    user_rows: Ints | None
    filters: RankFilter | None
    k: int
    beam_width: int
    exact_limit: int | None = None

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """Beams per user."""
        return max(self.beam_width, self.k)


@dataclass(frozen=True)
class SearchResult:
    """Best items per user, best first.

    ``ranks`` ``[B, k]`` leaf ranks (added ones numbered after the base), -1 where fewer than k
    items are allowed. ``scores`` ``[B, k]`` log-probabilities, -inf there. ``certified`` ``[B]``:
    no item outside the result scores higher. Exact search only: ``expanded`` ``[B]`` prefixes
    decoded; ``limit_hit`` ``[B]`` whether it gave up proving.
    """

    ranks: Ints
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]
    expanded: Ints | None = None
    limit_hit: NDArray[np.bool_] | None = None

    @classmethod
    def of_nobody(cls, k: int, exact: bool) -> SearchResult:
        """Return the result of a request without users."""
        ranks, nobody = np.zeros((0, k), np.int64), np.zeros(0, bool)
        scores = np.zeros((0, k), np.float32)
        if not exact:
            return cls(ranks, scores, nobody)
        return cls(ranks, scores, nobody, np.zeros(0, np.int64), nobody)


class Searcher(Protocol):
    """A recommender and how it is computed; safe to use from many threads."""

    @property
    def backend(self) -> str:
        """Name of what computes it."""

    @property
    def threads(self) -> int:
        """Threads of one request."""

    def search(self, state: CatalogState, request: Request) -> SearchResult:
        """Find the best items of every user, at least one, in one state of the catalogue."""
