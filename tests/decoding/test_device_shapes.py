"""Sizes that requests are padded to, and the few plans that are kept."""

from __future__ import annotations

from itertools import pairwise

from mmgrec_engine.decoding.device_shapes import (
    MOST_CELLS,
    MOST_USERS,
    MostRecent,
    batches,
    padded_filter_bytes,
    padded_length,
    padded_users,
)


def test_users_go_up_to_powers_of_two() -> None:
    assert [padded_users(n) for n in (1, 2, 3, 4, 5, 1000, 1024)] == [1, 2, 4, 4, 8, 1024, 1024]


def test_lengths_go_up_to_the_next_size_or_the_models_limit() -> None:
    assert [padded_length(n, 256) for n in (1, 16, 17, 64, 129, 256)] == [16, 16, 32, 64, 256, 256]
    assert [padded_length(n, 40) for n in (3, 17, 33, 40)] == [16, 32, 40, 40]
    assert [padded_length(n, 1000) for n in (256, 257, 1000)] == [256, 1000, 1000]
    assert padded_length(5, 7) == 7


def test_filters_get_room_of_few_sizes() -> None:
    assert [padded_filter_bytes(n) for n in (0, 4096, 4097, 70_000)] == [4096, 4096, 16384, 262144]


def test_batches_cover_all_users_once_and_keep_within_memory() -> None:
    for users, width, columns in (
        (1, 10, 256),
        (3000, 50, 256),
        (2048, 512, 65536),
        (5, 8000, 2**16),
    ):
        parts = list(batches(users, width, columns))
        assert parts[0].start == 0
        assert parts[-1].stop == users
        assert all(a.stop == b.start for a, b in pairwise(parts))
        largest = max(padded_users(part.stop - part.start) for part in parts)
        assert largest <= MOST_USERS
        assert largest == 1 or largest * width * columns <= MOST_CELLS
    assert list(batches(0, 10, 256)) == []


def test_the_most_recent_stay() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key.upper()

    kept = MostRecent(2, make)
    assert [kept.get(key) for key in "abacab"] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]
    assert kept.values() == ["A", "B"]
