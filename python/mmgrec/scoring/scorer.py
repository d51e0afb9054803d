"""`Scorer`: a table of users in, a table of their recommended items out.

Shapes: B users, k results.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from mmgrec.data.known_users import KnownUsers
from mmgrec.data.tables import read_table, require_columns
from mmgrec.scoring.columns import (
    check_types,
    known_columns,
    output_schema,
    rejects_schema,
    user_type,
)
from mmgrec.scoring.ids import UserRows, array_of
from mmgrec.scoring.rows import TableReader
from mmgrec.scoring.settings import OnError, ScoreSettings, artifact_fingerprint
from mmgrec_engine.decoding.searcher import SearchResult
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, DataError, RequestError


@dataclass(frozen=True)
class Scored:
    """``results``: rows of `columns.output_schema`. ``rejects``: rows that could not be scored.

    ``users``: rows of the input. ``dropped``: unknown ids that were left out.
    """

    results: pa.Table
    rejects: pa.Table
    users: int
    dropped: int


class Scorer:
    """An engine as a function from tables to tables; safe to call from many threads.

    ::

        ids -> rows, whole columns at a time; one native search of all rows; rows -> ids
        ray.data.read_parquet(...).map_batches(Scorer, fn_constructor_args=(run,), concurrency=2,
                                               batch_format="pyarrow")

    Parameters
    ----------
    run : path
        The run to load.
    settings : ScoreSettings
        What to compute.
    threads : int
        Over which the users of a call are spread.
    on_error : OnError
        Raise for a row that cannot be scored, or leave it out.
    fingerprint : str, optional
        Of the artifact, where it has to be a certain one.

    Raises
    ------
    ArtifactError
        The run cannot be loaded, or is not the one of the fingerprint.
    DataError, RequestError
        A filter's file cannot be read, or names unknown items.
    """

    def __init__(
        self,
        run: str | Path,
        settings: ScoreSettings | None = None,
        *,
        threads: int = 1,
        on_error: OnError = OnError.stop,
        fingerprint: str | None = None,
    ) -> None:
        self.run, self.settings, self.on_error = Path(run), settings or ScoreSettings(), on_error
        if fingerprint not in (None, artifact_fingerprint(self.run)):
            raise ArtifactError(
                f"{run} is not the artifact that this job began with",
                remedy="train or edit into another folder while a job runs",
            )
        self.engine = Engine.load(
            self.run,
            device=self.settings.device,
            precision=self.settings.precision,
            threads=threads,
        )
        self.state = self.engine.state
        self._item_ids = pa.array(self.state.ids.ids(np.arange(self.state.num_rows)).tolist())
        self._known: UserRows | None = None
        for name, path in self.settings.filters.items():
            self.engine.set_filter(name, self._filter_items(path))
        if self.settings.where is not None:
            self.engine.check_filter(self.settings.where)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Score a table of users, which has to name them, and return the results."""
        if "user" not in table.column_names:
            raise DataError("a batch without users' names", remedy="add a column 'user'")
        self.check(table.schema)
        return self.score(table, 0).results

    def check(self, schema: pa.Schema) -> None:
        """Raise `DataError` where tables of this schema cannot be scored."""
        columns = known_columns(schema, "the table")
        if "history" not in columns and self._known is None:
            self._known = UserRows(KnownUsers.of_run(self.run), self.state.ids)
        users = self._known.ids.type if self._known is not None else str
        check_types(schema, self.state.ids.type, users)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of the results for tables of a checked schema."""
        return output_schema(user_type(schema), self._item_ids.type)

    def score(self, table: pa.Table, first_row: int) -> Scored:
        """Score a table whose schema was checked.

        Parameters
        ----------
        table : Table
            Users.
        first_row : int
            The number of its first row, for messages and as name of users without one.

        Raises
        ------
        RequestError
            A row cannot be scored, and is not to be skipped.
        """
        users, dropped = len(table), 0
        numbers = np.arange(first_row, first_row + users)
        batch, faults = self._reader().read(table)
        dropped = faults.dropped
        rejects = self._rejects(table, numbers, faults.reasons)
        if faults.reasons:
            keep = np.ones(users, bool)
            keep[list(faults.reasons)] = False
            table, numbers = table.filter(pa.array(keep)), numbers[keep]
            batch, _ = self._reader().read(table)
        if len(table) == 0:
            return Scored(self.output_schema(table.schema).empty_table(), rejects, users, dropped)
        settings = self.settings
        request = self.engine.prepare_batch(
            self.state,
            batch,
            k=settings.k,
            beam_width=settings.beam_width,
            exclude_seen=settings.exclude_seen,
        )
        found = self.engine.searcher.search(self.state, request)
        return Scored(self._results(table, numbers, found), rejects, users, dropped)

    def _reader(self) -> TableReader:
        return TableReader(
            self.state.ids,
            self.engine.user_ids,
            self._known,
            drop_unknown=self.settings.drop_unknown,
            where=self.settings.where,
            check=self.engine.check_filter,
        )

    def _results(
        self, table: pa.Table, numbers: NDArray[np.int64], found: SearchResult
    ) -> pa.Table:
        rows = self.state.rows_of(found.ranks)
        is_item = rows >= 0
        counts = is_item.sum(axis=1)
        owner = np.repeat(np.arange(len(table)), counts)
        columns = [
            _users(table, numbers).take(pa.array(owner)),
            self._item_ids.take(pa.array(rows[is_item])),
            pa.array(found.scores[is_item]),
            pa.array(np.nonzero(is_item)[1].astype(np.int32) + 1),
            pa.array(np.repeat(found.certified, counts)),
        ]
        return pa.Table.from_arrays(columns, schema=self.output_schema(table.schema))

    def _rejects(
        self, table: pa.Table, numbers: NDArray[np.int64], reasons: dict[int, str]
    ) -> pa.Table:
        schema = rejects_schema(user_type(table.schema))
        if not reasons:
            return schema.empty_table()
        rows = sorted(reasons)
        users = _users(table, numbers).take(pa.array(rows))
        if self.on_error is OnError.stop:
            named = f" (user {users[0].as_py()!r})" if "user" in table.column_names else ""
            raise RequestError(
                f"row {numbers[rows[0]]} of the input{named} cannot be scored",
                value=reasons[rows[0]],
                remedy="correct it; or skip such rows with --on-error skip, or leave unknown items "
                "out with --drop-unknown",
            )
        columns = [pa.array(numbers[rows]), users, pa.array([reasons[row] for row in rows])]
        return pa.Table.from_arrays(columns, schema=schema)

    def _filter_items(self, path: Path) -> list[Hashable]:
        table: pl.DataFrame = read_table(path, ("item",))
        require_columns(table, ("item",), path)
        items = table["item"].to_list()
        if not self.settings.drop_unknown:
            return items
        known = self.state.ids.rows_or_missing(items) >= 0
        return [item for item, is_known in zip(items, known, strict=True) if is_known]


def _users(table: pa.Table, numbers: NDArray[np.int64]) -> pa.Array:
    if "user" not in table.column_names:
        return pa.array(numbers)
    users = array_of(table["user"])
    return users.dictionary_decode() if pa.types.is_dictionary(users.type) else users
