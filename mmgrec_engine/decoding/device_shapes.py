"""Shapes that a planned search is made for, and the few plans that are kept.

Requests come in all sizes; memory planned ahead and captured graphs have one. A request is padded
to the next of a few sizes, and a batch above the largest is split.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_USERS = 1024
"""Users of the largest batch: more would not fill a large GPU better."""

MOST_CELLS = 1 << 28
"""Logits of one level in the largest batch; bounds the memory of a plan at a few GiB."""

LENGTHS = (16, 32, 64, 128, 256)
"""History lengths below the model's own limit."""

LEAST_FILTER_BYTES = 4096


@dataclass(frozen=True)
class Shape:
    """Users, history length, beam width, and room for packed filters (0: there are none)."""

    users: int
    length: int
    width: int
    filter_bytes: int


def batches(users: int, width: int, columns: int) -> Iterator[slice]:
    """Split a batch into slices of the largest size that beams of this width allow.

    ``columns``: of the widest level.
    """
    room = max(1, MOST_CELLS // (width * columns))
    largest = min(MOST_USERS, 1 << (room.bit_length() - 1))
    for begin in range(0, users, largest):
        yield slice(begin, min(users, begin + largest))


def padded_users(users: int) -> int:
    """Round up to a power of two."""
    return 1 << (users - 1).bit_length()


def padded_length(length: int, max_history: int) -> int:
    """Round up to one of `LENGTHS` or the model's limit, whichever is next."""
    return min([n for n in LENGTHS if length <= n < max_history], default=max_history)


def padded_filter_bytes(needed: int) -> int:
    """Round up to 4 KiB times a power of four: few sizes, as every one is a plan of its own."""
    room = LEAST_FILTER_BYTES
    while room < needed:
        room *= 4
    return room


Key = TypeVar("Key")
Value = TypeVar("Value")


class MostRecent(Generic[Key, Value]):
    """So many values by key; those that were used last stay."""

    def __init__(self, most: int, make: Callable[[Key], Value]) -> None:
        self._most, self._make = most, make
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value:
        """Return a key's value, made when it is asked for first or again after it was dropped."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        # Room first: what is dropped gives its memory back before more is taken.
        while len(self._values) >= self._most:
            self._values.popitem(last=False)
        made = self._values[key] = self._make(key)
        return made

    def values(self) -> Sequence[Value]:
        """Return what is kept, least recently used first."""
        return list(self._values.values())
