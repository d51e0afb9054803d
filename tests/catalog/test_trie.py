"""The trie's Python handle; its inside is tested in tests/cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.trie import Trie, TrieBuilder
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
    # Two one-byte tokens per item, 263 KB of offsets shared by all, a header, four checksums and
    # four arrays filled up to 64 bytes.
    assert trie.num_bytes <= 2 * trie.num_items + 4 * (65536 + 256 + 2) + 128 + 64 + 4 * 63


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
    with pytest.raises(DataError, match="too many tokens"):
        Trie.build(np.zeros((1, 2), np.int32), [1, 65537])
    with pytest.raises(DataError, match="not integers"):
        Trie.build(np.zeros((1, 2), np.float32), [1, 1])


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 3, 256, 65536]), min_size=2, max_size=8),
    batches=st.lists(st.integers(0, 30), max_size=4),
    threads=st.integers(1, 3),
    dense=st.integers(0, 1),
)
def test_batches_build_the_same_trie(
    sizes: list[int], batches: list[int], threads: int, dense: int
) -> None:
    rng = np.random.default_rng(sum(batches))
    codes = np.unique(rng.integers(0, sizes, (sum(batches), len(sizes)), dtype=np.int32), axis=0)
    codes = codes[rng.permutation(len(codes))]
    builder = TrieBuilder(sizes)
    for batch in np.split(codes, np.cumsum(batches)):
        builder.add(batch)
    assert builder.num_rows == len(codes)
    trie, order = builder.finish(threads=threads, dense_levels=dense)
    assert (order.dtype, builder.num_rows) == (np.uint32, 0)
    assert np.array_equal(codes[order], trie.codes())
    assert np.array_equal(trie.lookup(codes[order]), np.arange(len(codes)))
    assert np.array_equal(Trie.build(codes, sizes)[1], order)


def test_errors_count_rows_over_all_batches() -> None:
    builder = TrieBuilder([4, 4])
    builder.add(np.array([[0, 1], [3, 3]], np.uint8))
    with pytest.raises(DataError, match=r"row 3: token 4 is outside 0\.\.3"):
        builder.add(np.array([[0, 0], [1, 4]], np.int32))
    # As 32 bits this would be token 1.
    with pytest.raises(DataError, match=r"row 2: token 4294967297 is outside 0\.\.3"):
        builder.add(np.array([[0, 2**32 + 1]], np.int64))
    builder.add(np.array([[3, 3]], np.int64))
    with pytest.raises(DataError, match=r"rows 1 and 2 have the same Rec-ID \(3, 3\)"):
        builder.finish()
    with pytest.raises(DataError, match="can be dense"):
        builder.finish(dense_levels=3)


def test_damaged_and_missing_files_are_errors(tmp_path: Path) -> None:
    trie, _ = Trie.build(np.array([[0, 1], [1, 0]], np.int32), [2, 2])
    path = tmp_path / "trie.bin"
    trie.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ArtifactError, match="truncated"):
        Trie.load(path)
    path.write_bytes(whole[:8] + b"\1\0\0\0" + whole[12:])
    with pytest.raises(ArtifactError, match="format 1; this version reads format 2"):
        Trie.load(path)
    with pytest.raises(ArtifactError, match="No such file"):
        Trie.load(tmp_path / "none.bin")
    with pytest.raises(OSError, match="No space left"):
        trie.save(Path("/dev/full"))


def test_damage_is_found_by_verify_and_named_by_a_search(tmp_path: Path) -> None:
    builder = TrieBuilder([2, 2])
    builder.add(np.array([[0, 1], [1, 0]]))
    trie, _ = builder.finish(dense_levels=0)
    path = tmp_path / "trie.bin"
    trie.save(path)
    whole = bytearray(path.read_bytes())
    whole[-64] = 9  # the first token of the last level
    path.write_bytes(whole)
    with pytest.raises(ArtifactError, match="checksum does not match"):
        Trie.load(path, verify=True)
    unverified = Trie.load(path)
    with pytest.raises(ArtifactError, match=r"trie\.bin: damaged at leaf 0: token 9 on level 1"):
        unverified.codes()
    assert unverified.lookup(np.array([[0, 1], [1, 0]])).tolist() == [-1, 1]
    trie.verify()
