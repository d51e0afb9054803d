"""The input of a job, piece by piece."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgrec.scoring.source import Source, Span
from mmgrec_engine.errors import DataError


def write(path: Path, first: int, count: int, row_group_size: int) -> None:
    rows = range(first, first + count)
    schema = {"other": pa.string(), "history": pa.list_(pa.int64()), "user": pa.int64()}
    histories = [[row] * (row % 3) for row in rows]
    columns = {"other": ["x"] * count, "history": histories, "user": list(rows)}
    table = pa.table(columns, pa.schema(schema))
    pq.write_table(table, path, row_group_size=row_group_size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """47 rows in three files, one of them empty, in row groups of 7, 1 and 5."""
    write(tmp_path / "a.parquet", 0, 20, 7)
    write(tmp_path / "b.parquet", 20, 0, 1)
    write(tmp_path / "c.parquet", 20, 27, 5)
    return tmp_path


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize(
    "wanted", [[0, 1, 2, 3, 4, 5], [1], [5], [0, 2, 3, 5], [4, 5], []], ids=str
)
def test_pieces_are_the_rows_of_the_wanted_spans(
    folder: Path, size: int, wanted: list[int]
) -> None:
    source = Source(folder)
    assert source.num_rows == 47
    assert source.schema.names == ["user", "history"]
    spans = [Span(i, 9 * i, min(9 * i + 9, 47)) for i in wanted]
    seen: list[int] = []
    for piece in source.pieces(spans, size):
        users = piece.table["user"].to_pylist()
        assert users[0] == piece.first_row
        assert len(users) <= size
        assert piece.span.begin <= users[0] <= users[-1] < piece.span.end
        assert piece.last == (users[-1] == piece.span.end - 1)
        assert piece.table["history"].to_pylist() == [[user] * (user % 3) for user in users]
        seen += users
    assert seen == [row for span in spans for row in range(span.begin, span.end)]


def test_the_fingerprint_is_of_the_contents(folder: Path) -> None:
    before = Source(folder).described()
    assert before == Source(folder).described()
    write(folder / "c.parquet", 21, 27, 5)
    assert before != Source(folder).described()


def test_what_is_no_input_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.parquet", tmp_path / "empty"):
        with pytest.raises(DataError, match="no Parquet file"):
            Source(path)
    (folder / "d.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Source(folder)
    pq.write_table(pa.table({"user": [1]}), folder / "d.parquet")
    with pytest.raises(DataError, match="has other columns"):
        Source(folder)
    pq.write_table(pa.table({"item": [1]}), tmp_path / "z.parquet")
    with pytest.raises(DataError, match="has no users"):
        Source(tmp_path / "z.parquet")
