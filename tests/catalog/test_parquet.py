"""Tries from Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgrec_engine.catalog.parquet import build_from_parquet
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import DataError

SIZES = [16, 300, 4]
NAMES = ["a", "b", "c"]


def random_codes(items: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, SIZES, (items, 3), dtype=np.int32), axis=0)
    return codes[rng.permutation(len(codes))]


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=300)
    return path


@pytest.mark.parametrize("batch_rows", [1, 7, 1 << 20])
def test_columns_of_any_integer_type(tmp_path: Path, batch_rows: int) -> None:
    codes = random_codes(200 if batch_rows == 1 else 1000)
    types = [pa.uint8(), pa.int64(), pa.uint64()]
    columns = {n: pa.array(codes[:, t], types[t]) for t, n in enumerate(NAMES)}
    path = write(tmp_path / "t.parquet", title=pa.array(["x"] * len(codes)), **columns)
    seen: list[int] = []
    trie, order = build_from_parquet(
        path, NAMES, SIZES, batch_rows=batch_rows, advance=seen.append, threads=2
    )
    expected, expected_order = Trie.build(codes, SIZES)
    assert np.array_equal(trie.codes(), expected.codes())
    assert np.array_equal(order, expected_order)
    assert sum(seen) == len(codes)
    assert max(seen) <= batch_rows


def test_a_column_of_lists(tmp_path: Path) -> None:
    codes = random_codes(1000)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), 3)
    path = write(tmp_path / "t.parquet", rec_id=lists)
    trie, order = build_from_parquet(path, ["rec_id"], SIZES, batch_rows=64)
    assert np.array_equal(trie.codes(), codes[order])
    # As polars writes them.
    frame = pl.DataFrame({"rec_id": codes}, schema={"rec_id": pl.Array(pl.Int16, 3)})
    frame.write_parquet(tmp_path / "p.parquet")
    again, _ = build_from_parquet(tmp_path / "p.parquet", ["rec_id"], SIZES)
    assert np.array_equal(again.codes(), trie.codes())


def test_an_empty_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", **{n: pa.array([], pa.int32()) for n in NAMES})
    trie, order = build_from_parquet(path, NAMES, SIZES)
    assert (trie.num_items, len(order)) == (0, 0)


def fails(path: Path, columns: list[str], message: str, batch_rows: int = 2) -> None:
    with pytest.raises(DataError, match=message):
        build_from_parquet(path, columns, [4, 4], batch_rows=batch_rows)


def test_unusable_tables_are_errors(tmp_path: Path) -> None:
    good = pa.array([0, 1, 2])
    path = write(
        tmp_path / "t.parquet",
        a=good,
        b=pa.array([0, 1, None]),
        c=pa.array([0.0, 1.0, 2.0]),
        d=pa.array([0, 1, 2**40]),
        e=pa.array([0, 1, 2**64 - 1], pa.uint64()),
        same=pa.array([0, 1, 0]),
        three=pa.array([[0, 0, 0]] * 3, pa.list_(pa.int8(), 3)),
        holes=pa.array([[0, 0], [1, 1], [2, None]], pa.list_(pa.int8(), 2)),
        gone=pa.array([[0, 0], None, [1, 1]], pa.list_(pa.int8(), 2)),
        loose=pa.array([[0, 0], [1, 1], [2]]),
    )
    fails(path, ["a", "z"], "has no column 'z'")
    fails(path, ["a"], "1 tokens per row")
    fails(path, ["a", "a", "a"], "3 tokens per row")
    fails(path, ["a", "b"], r"column 'b' has a null\n.*row 2")
    fails(path, ["a", "c"], r"column 'c' does not hold tokens\n.*double")
    fails(path, ["a", "d"], r"row 2: token 1099511627776 is outside 0\.\.3")
    fails(path, ["a", "e"], "18446744073709551615")
    fails(path, ["same", "same"], r"rows 0 and 2 have the same Rec-ID \(0, 0\)")
    fails(path, ["three"], "3 tokens per row")
    fails(path, ["holes"], r"column 'holes' has a null\n.*row 2")
    fails(path, ["gone"], r"column 'gone' has a null\n.*row 1")
    fails(path, ["loose"], "does not hold tokens")
    fails(path, ["a", "three"], "does not hold tokens")
    fails(tmp_path / "none.parquet", ["a", "b"], "cannot read")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no table")
    fails(tmp_path / "bad.parquet", ["a", "b"], "cannot read")


def test_what_the_callback_raises_is_not_taken_for_a_bad_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", a=pa.array([0]), b=pa.array([0]))

    def stop(rows: int) -> None:
        raise OSError("a broken pipe")

    with pytest.raises(OSError, match="a broken pipe"):
        build_from_parquet(path, ["a", "b"], [4, 4], advance=stop)
