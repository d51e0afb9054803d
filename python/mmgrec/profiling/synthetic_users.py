"""Made-up users for batch jobs: a data set's own lengths of histories and popularity of items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgrec.data.dataset import Dataset, Split
from mmgrec_engine.batch_requests import RowLists
from mmgrec_engine.errors import DataError

CHUNK = 50_000
"""Users that are made, and written as a row group, at a time."""


def write_synthetic_users(dataset: Dataset, path: Path, count: int, seed: int = 0) -> None:
    """Write Parquet with columns user (0, 1, ...) and history, as `mmgrec score` takes it.

    ::

        length  = that of a random user's training history
        items   = items of random training interactions, each once

    Raises
    ------
    DataError
        The data set has no training interactions.
    """
    train = dataset.histories(Split.TRAIN)
    lengths = train.lengths[train.lengths > 0]
    if len(lengths) == 0:
        raise DataError("the data set has no training interactions", value=dataset.name)
    rng = np.random.default_rng(seed)
    items = pa.array(dataset.items["item"].to_list())
    schema = pa.schema([("user", pa.int64()), ("history", pa.large_list(items.type))])
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for begin in range(0, count, CHUNK):
            users = np.arange(begin, min(begin + CHUNK, count))
            drawn = rng.choice(lengths, len(users))
            offsets = np.concatenate([[0], np.cumsum(drawn)])
            rows = rng.choice(train.item_rows, offsets[-1]).astype(np.int64)
            lists = RowLists(offsets, rows).without_repeats()
            history = pa.LargeListArray.from_arrays(lists.offsets, items.take(pa.array(lists.rows)))
            file.write_table(pa.Table.from_arrays([pa.array(users), history], schema=schema))
