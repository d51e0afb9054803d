"""Random context/target splits of the users' items, and padded batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SplitLimits:
    """Bounds of a split: the target share is drawn from ``target_share`` per user and epoch.

    ``ordered``: targets are a user's last items and not any.
    """

    target_share: tuple[float, float]
    max_targets: int
    max_context: int
    ordered: bool = False


@dataclass(frozen=True)
class Batch:
    """Users with their contexts and targets, padded.

    ``users`` ``[B]`` rows; ``context`` ``[B, L]`` ranks with ``lengths`` ``[B]``;
    ``targets`` ``[B, P]`` ranks with ``valid`` ``[B, P]``.
    """

    users: Tensor
    context: Tensor
    lengths: Tensor
    targets: Tensor
    valid: Tensor

    def share(self, rank: int, count: int) -> Batch:
        """Return every ``count``-th user, or where there is none for ``rank`` the first user."""
        if count == 1:
            return self
        rows = torch.arange(len(self.users))[rank::count]
        rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
        return Batch(**{name: value[rows] for name, value in vars(self).items()})

    def to(self, device: str) -> Batch:
        """Return the batch on a device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True)
class EpochSplit:
    """All users with at least two items; where targets and context of each stand in ``items``."""

    users: IntArray
    target_starts: IntArray
    context_starts: IntArray
    num_targets: IntArray
    num_context: IntArray
    items: IntArray


def split_epoch(
    offsets: IntArray, items: IntArray, limits: SplitLimits, generator: torch.Generator
) -> EpochSplit:
    """Split every user's items at random into targets and context, so that no target is shown.

    ::

        shuffle each user's items;  m = share * n, at least 1, at most n - 1
        targets = the first m (at most max_targets); context = from m on (at most max_context)
        ordered: the items stay in order; targets = the first of the last m, context = what comes
        right before them

    Parameters
    ----------
    offsets : array
        ``[U + 1]``: user u has ``items[offsets[u]:offsets[u + 1]]``.
    items : array
        ``[E]`` leaf ranks.
    limits : SplitLimits
        Bounds.
    generator : torch.Generator
        Source of all randomness.
    """
    counts = np.diff(offsets)
    keys = torch.rand(len(items), generator=generator).numpy()
    users = np.flatnonzero(counts >= 2)
    low, high = limits.target_share
    draw = torch.rand(len(users), generator=generator).numpy()
    share = low + (high - low) * draw
    n = counts[users]
    targets = np.clip(np.rint(share * n), 1, n - 1).astype(np.int64)
    if limits.ordered:
        context = np.minimum(n - targets, limits.max_context)
        cut = offsets[users] + n - targets
        kept = np.minimum(targets, limits.max_targets)
        return EpochSplit(users, cut, cut - context, kept, context, items)
    owner = np.repeat(np.arange(len(counts)), counts)
    return EpochSplit(
        users,
        offsets[users],
        offsets[users] + targets,
        np.minimum(targets, limits.max_targets),
        np.minimum(n - targets, limits.max_context),
        items[np.lexsort((keys, owner))],
    )


def batches_of(split: EpochSplit, batch_users: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield batches of users of similar context length, in random order.

    Similar lengths keep padding small; users are shuffled first, so batches differ every epoch.
    """
    order = torch.randperm(len(split.users), generator=generator).numpy()
    chunk = 16 * batch_users
    batches = []
    for begin in range(0, len(order), chunk):
        part = order[begin : begin + chunk]
        part = part[np.argsort(split.num_context[part], kind="stable")]
        batches += [part[i : i + batch_users] for i in range(0, len(part), batch_users)]
    for index in torch.randperm(len(batches), generator=generator).tolist():
        yield _batch(split, batches[index])


def pad_rows(items: IntArray, starts: IntArray, lengths: IntArray) -> tuple[Tensor, Tensor]:
    """Gather ``items[starts[b] : starts[b] + lengths[b]]`` into ``[B, max length]`` and a mask."""
    column = np.arange(max(int(lengths.max(initial=0)), 1))
    valid = column < lengths[:, None]
    index = np.where(valid, starts[:, None] + column, 0)
    values = items[index] if len(items) else np.zeros(index.shape, np.int64)
    return torch.from_numpy(values), torch.from_numpy(valid)


def _batch(split: EpochSplit, chosen: NDArray[Any]) -> Batch:
    context, _ = pad_rows(split.items, split.context_starts[chosen], split.num_context[chosen])
    targets, valid = pad_rows(split.items, split.target_starts[chosen], split.num_targets[chosen])
    return Batch(
        torch.from_numpy(split.users[chosen]),
        context,
        torch.from_numpy(split.num_context[chosen]),
        targets,
        valid,
    )
