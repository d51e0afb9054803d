"""How often a beam search is right, how often it knows, and what certainty costs.

Shapes: B users of a batch, n users in all, k results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from mmgrec.data.dataset import Dataset, Split
from mmgrec.profiling.environment import machine
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import DataError
from mmgrec_engine.requests import Recommendations

K = 10
WIDTHS = (10, 20, 50)
BATCH = 32
TOLERANCE = 1e-4
"""Scores that differ by less are ties: two searches batch their prefixes differently and round."""


@dataclass(frozen=True)
class Comparison:
    """Beam search and exact search of the same users.

    Per user ``[n]``: ``certified`` by the beam alone, ``right``: the beam's k scores are the exact
    ones, ``limit_hit``, ``expanded`` prefixes. Per batch: seconds per user of each search.
    """

    certified: NDArray[np.bool_]
    right: NDArray[np.bool_]
    limit_hit: NDArray[np.bool_]
    expanded: NDArray[np.int64]
    beam_seconds: NDArray[np.float64]
    exact_seconds: NDArray[np.float64]


def bench_certificates(
    engine: Engine, dataset: Dataset, users: int, limit: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Compare beam search with exact search for some users of a run's data.

    ::

        for every beam width: for every batch of users: the beam's best 10, the exact best 10,
            seen items excluded; the exact search starts with the same beam width

    Parameters
    ----------
    engine, dataset
        A run and its data.
    users : int
        How many test users with a history to take, evenly spread over the rows.
    limit : int
        ``exact_limit`` of the exact search.
    tell : callable
        Gets the name of each step before it runs.

    Returns
    -------
    dict
        ``machine`` and ``rows``, one per beam width.

    Raises
    ------
    DataError
        No test user has a history.
    """
    histories = test_histories(dataset, users)
    rows = []
    for width in WIDTHS:
        tell(f"beam width {width}, {len(histories)} users")
        rows.append(_row(engine, dataset, width, limit, _compare(engine, histories, width, limit)))
    return {"machine": machine(), "rows": rows}


def test_histories(dataset: Dataset, users: int) -> list[list[Any]]:
    """Return the training items of test users, evenly spread over the rows, the shortest first."""
    train, test = dataset.histories(Split.TRAIN), dataset.histories(Split.TEST)
    known = np.flatnonzero((train.lengths > 0) & (test.lengths > 0))
    if len(known) == 0:
        raise DataError("no user has both training and test items", value=dataset.name)
    spread = np.unique(np.linspace(0, len(known) - 1, min(users, len(known))).astype(np.int64))
    # Histories of like length share a batch, so that little of it is padding.
    rows = sorted(known[spread], key=lambda row: int(train.lengths[row]))
    ids = dataset.items["item"]
    return [ids[train.of(int(row))].to_list() for row in rows]


def _compare(engine: Engine, histories: list[list[Any]], width: int, limit: int) -> Comparison:
    def search(batch: list[list[Any]], exact: bool) -> tuple[Recommendations, float]:
        start = time.perf_counter()
        found = engine.recommend(batch, k=K, beam_width=width, exact=exact, exact_limit=limit)
        return found, (time.perf_counter() - start) / len(batch)

    search(histories[:BATCH], exact=True)  # warm up
    pairs = [(search(batch, False), search(batch, True)) for batch in _batches(histories)]
    beams, exacts = ([side[0] for side in sides] for sides in zip(*pairs, strict=True))
    return Comparison(
        np.concatenate([beam.certified for beam in beams]),
        np.concatenate([_right(b, e) for b, e in zip(beams, exacts, strict=True)]),
        np.concatenate([exact.limit_hit for exact in exacts]),
        np.concatenate([exact.expanded for exact in exacts]),
        np.array([beam[1] for beam, _ in pairs]),
        np.array([exact[1] for _, exact in pairs]),
    )


def _batches(histories: Sequence[list[Any]]) -> Iterator[list[list[Any]]]:
    for begin in range(0, len(histories), BATCH):
        yield list(histories[begin : begin + BATCH])


def _right(beam: Recommendations, exact: Recommendations) -> NDArray[np.bool_]:
    """Say whose beam equals the proved top; where nothing was proved, nobody is called right."""
    close = np.isclose(beam.scores, exact.scores, rtol=0, atol=TOLERANCE)
    return np.asarray(exact.certified & close.all(axis=1))


def _row(
    engine: Engine, dataset: Dataset, width: int, limit: int, found: Comparison
) -> dict[str, Any]:
    beam, exact = np.median(found.beam_seconds), np.median(found.exact_seconds)
    config = engine.config
    return {
        "bench": "certificates",
        "case": {
            "dataset": dataset.name,
            "items": engine.trie.num_items,
            "level_sizes": engine.trie.level_sizes,
            "normalise": config.normalise,
            "node_vectors": config.node_vectors,
            "users": len(found.certified),
            "batch": BATCH,
            "k": K,
            "beam_width": width,
            "exact_limit": limit,
        },
        "backend": engine.searcher.backend,
        "threads": engine.searcher.threads,
        "certified_share": float(found.certified.mean()),
        "right_share": float(found.right.mean()),
        "limit_share": float(found.limit_hit.mean()),
        "beam_prefixes": 1 + (len(engine.trie.level_sizes) - 1) * width,
        "expanded_median": float(np.median(found.expanded)),
        "expanded_p99": float(np.quantile(found.expanded, 0.99)),
        "median_s": float(exact),
        "p99_s": float(np.quantile(found.exact_seconds, 0.99)),
        "items_per_s": float(1 / exact),
        "baseline": "beam_search",
        "baseline_median_s": float(beam),
        "ratio": float(beam / exact),
    }


def certificates_table(report: dict[str, Any]) -> Table:
    """Lay the rows out for people."""
    case = report["rows"][0]["case"]
    table = Table(
        title=f"{case['dataset']}, {case['items']:,} items, {case['users']:,} users, "
        f"best {case['k']}, normalise {case['normalise']}",
        title_justify="left",
        caption="prefixes decoded by the beam and by the exact search (median, 99th percentile), "
        "and median ms per user; the exact search starts with a beam of the same width",
        caption_justify="left",
    )
    for name in ("beams", "certified", "right", "limit\nhit"):
        table.add_column(name, justify="right")
    for name in ("beam", "exact", "p99", "beam\nms", "exact\nms"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        shares = (row[f"{name}_share"] for name in ("certified", "right", "limit"))
        counts = (row[name] for name in ("beam_prefixes", "expanded_median", "expanded_p99"))
        times = (row[name] for name in ("baseline_median_s", "median_s"))
        table.add_row(
            str(row["case"]["beam_width"]),
            *(f"{share:.1%}" for share in shares),
            *(f"{count:,.0f}" for count in counts),
            *(f"{seconds * 1e3:.2f}" for seconds in times),
        )
    return table
