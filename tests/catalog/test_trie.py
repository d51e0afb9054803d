"""The trie's Python handle; its inside is tested in tests/cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ArtifactError, DataError


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 5, 256, 257, 65536]), min_size=2, max_size=8),
    items=st.integers(0, 80),
    seed=st.integers(0, 10**6),
)
def test_round_trip_of_any_catalogue(sizes: list[int], items: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, sizes, (items, len(sizes)), dtype=np.int32), axis=0)
    shuffled = codes[rng.permutation(len(codes))]
    trie, order = Trie.build(shuffled, sizes)
    assert np.array_equal(shuffled[order], codes)
    assert np.array_equal(trie.codes(), codes)
    assert np.array_equal(trie.lookup(codes), np.arange(len(codes)))
    absent = rng.integers(-1, np.array(sizes) + 1, (50, len(sizes)), dtype=np.int32)
    known = {tuple(row) for row in codes.tolist()}
    expected = [tuple(row) in known for row in absent.tolist()]
    assert (trie.lookup(absent) >= 0).tolist() == expected


def test_file_round_trip(tmp_path: Path) -> None:
    codes = np.array([[0, 1, 2], [3, 0, 0], [0, 1, 1]], np.int32)
    trie, _ = Trie.build(codes, [4, 4, 4])
    trie.save(tmp_path / "trie.bin")
    assert (tmp_path / "trie.bin").stat().st_size == trie.num_bytes
    again = Trie.load(tmp_path / "trie.bin")
    assert np.array_equal(again.codes(), trie.codes())
    assert again.level_sizes == [4, 4, 4]


def test_size_per_item() -> None:
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 256, (200_000, 4), dtype=np.int32), axis=0)
    trie, _ = Trie.build(codes, [256, 256, 256, 256])
    # Two one-byte tokens per item, and 263 KB of offsets shared by all.
    assert trie.num_bytes <= 2 * trie.num_items + 4 * (65536 + 256 + 2) + 100


def test_errors_name_the_rows() -> None:
    with pytest.raises(DataError, match=r"rows 0 and 2 have the same Rec-ID \(1, 1\)"):
        Trie.build(np.array([[1, 1], [0, 0], [1, 1]], np.int32), [2, 2])
    with pytest.raises(DataError, match=r"row 1: token 2 is outside 0\.\.1"):
        Trie.build(np.array([[1, 1], [2, 0]], np.int32), [2, 2])
    with pytest.raises(DataError, match="2 to 8 levels"):
        Trie.build(np.zeros((1, 1), np.int32), [1])
    with pytest.raises(DataError, match="do not fit together"):
        Trie.build(np.zeros((1, 3), np.int32), [1, 1])
    with pytest.raises(DataError, match="no tokens"):
        Trie.build(np.zeros((1, 2), np.int32), [1, 0])


def test_damaged_and_missing_files_are_errors(tmp_path: Path) -> None:
    trie, _ = Trie.build(np.array([[0, 1], [1, 0]], np.int32), [2, 2])
    path = tmp_path / "trie.bin"
    trie.save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="truncated"):
        Trie.load(path)
    with pytest.raises(ArtifactError, match="No such file"):
        Trie.load(tmp_path / "none.bin")
    with pytest.raises(OSError, match="No space left"):
        trie.save(Path("/dev/full"))
