"""What callers of an engine ask for, checked and turned into what a search takes; what they get."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.named_filters import NamedFilters
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.errors import RequestError

Ids = Sequence[Hashable]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Recommendations:
    """Recommended items of a batch, best first.

    ``items`` ``[B, k]`` external ids as objects, None where fewer than k items are allowed.
    ``scores`` ``[B, k]`` log-probabilities, -inf there. ``certified`` ``[B]``: provably the k best
    of the whole catalogue. With ``exact`` only: ``expanded`` ``[B]`` prefixes that were decoded,
    ``limit_hit`` ``[B]`` where the search gave up proving.
    """

    items: NDArray[np.object_]
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]
    expanded: NDArray[np.int64] | None = None
    limit_hit: NDArray[np.bool_] | None = None


def check_counts(**counts: int) -> None:
    """Raise `RequestError` where one of them is below 1."""
    for name, value in counts.items():
        if value < 1:
            raise RequestError(f"{name} is out of range", value=value, allowed="at least 1")


def check_ids(ids: Ids) -> None:
    """Raise `RequestError` for a text in place of a list of ids."""
    if isinstance(ids, str):
        raise RequestError("ids is not a list of item ids", value=repr(ids), remedy="[id, id, ...]")


def check_histories(histories: Sequence[Any], users: Sequence[Any] | None) -> None:
    """Raise `RequestError` where histories are no lists, or not as many as users."""
    if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
        raise RequestError(
            "histories is not a list of lists of item ids", remedy="recommend([[id, id, ...], ...])"
        )
    if users is not None and len(users) != len(histories):
        raise RequestError(
            "users and histories differ in number",
            value=f"{len(users)} users, {len(histories)} histories",
        )


def history_rows(state: CatalogState, history: Ids, index: int) -> Ints:
    """Return the rows of a history's items, each once, in the order of their last mention.

    Raises
    ------
    RequestError
        It is empty, or an item is unknown.
    """
    if len(history) == 0:
        raise RequestError(
            f"history {index} is empty",
            allowed="at least one item",
            remedy="give users without a history the most popular items instead",
        )
    with suppress(TypeError):  # not hashable, so not known either; the table names it
        history = list(dict.fromkeys(reversed(history)))[::-1]
    return state.ids.rows(history, f"history {index}")


def request_filters(
    state: CatalogState,
    named: NamedFilters,
    seen: Sequence[Ints],
    *,
    exclude_seen: bool,
    allow: Ids | None,
    deny: Ids | None,
    where: str | None,
    takes_ids: bool,
) -> RankFilter | None:
    """Return which leaves the users with these histories may get; None: all.

    ``takes_ids``: the search takes denied ids as they are.

    Raises
    ------
    RequestError
        An unknown item or named filter.
    """
    if not exclude_seen and deny is None and allow is None and where is None:
        return None
    per_user = [state.leaves(rows if exclude_seen else rows[:0]) for rows in seen]
    to_all = by_id = None
    if deny is not None:
        # A search by id goes from leaf to leaf up to one that is allowed: not where few are.
        if takes_ids and allow is None and where is None:
            by_id = state.denied_ids(deny)
        if by_id is None:
            to_all = state.leaves(state.ids.rows(deny, "deny"))
    allowed = None
    if allow is not None:
        allowed = [state.leaves(state.ids.rows(allow, "allow"))] * len(seen)
    in_set = None
    if where is not None:
        in_set = state.named_set(named.resolve(where, state.num_rows))
    return RankFilter.from_lists(
        per_user, allowed, state.num_leaves, named=in_set, deny_all=to_all, deny_ids=by_id
    )
