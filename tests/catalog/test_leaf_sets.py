"""Sets of leaves against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.leaf_sets import LeafSet

SIZES = st.sampled_from([0, 1, 63, 64, 65, 511, 512, 513, 1300])


def made(numbers: set[int], size: int) -> LeafSet:
    return LeafSet.of(np.array(sorted(numbers), np.int64), size)


@settings(max_examples=80, deadline=None)
@given(size=SIZES, seed=st.integers(0, 10**6))
def test_set_operations(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (set(np.flatnonzero(rng.random(size) < rng.random()).tolist()) for _ in range(2))
    x, y = made(a, size), made(b, size)
    everything = set(range(size))
    for found, expected in (
        (x, a),
        (x & y, a & b),
        (x | y, a | b),
        (~x, everything - a),
        (~~x, a),
        (LeafSet.all(size), everything),
        (x.resized(size + 70), a),
    ):
        assert found.numbers().tolist() == sorted(expected)
        assert len(found) == len(expected)
        flags = found.contains(np.arange(found.size))
        assert np.flatnonzero(flags).tolist() == sorted(expected)
        # The directory: how many numbers are below 512 b.
        for group, count in enumerate(found.counts):
            assert count == sum(number < 512 * group for number in expected)


def test_repeats_do_not_matter_and_strangers_are_refused() -> None:
    assert len(LeafSet.of(np.array([3, 1, 3]), 4)) == 2
    for stranger in (4, -1):
        with pytest.raises(IndexError):
            LeafSet.of(np.array([stranger]), 4)


def test_a_cut_set_has_the_numbers_that_are_left() -> None:
    whole = LeafSet.of(np.array([0, 63, 64, 127, 128, 700]), 701)
    for size in (0, 1, 63, 64, 65, 128, 129, 700):
        cut = whole.resized(size)
        numbers = whole.numbers()
        assert cut.numbers().tolist() == numbers[numbers < size].tolist()
        assert len(cut) == len(cut.numbers())
