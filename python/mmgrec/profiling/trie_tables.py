"""The rows of `mmgrec bench trie` laid out for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table

from mmgrec.profiling.bench_report import bench_tables
from mmgrec.profiling.certificates import certificates_table

Row = dict[str, Any]
Rows = Sequence[Row]
Methods = dict[tuple[Any, ...], dict[str, Row]]


def trie_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Yield one table per kind of row, in the report's order."""
    layouts: dict[str, Callable[[Rows], Iterator[Table]]] = {
        "trie_build": _build,
        "trie_memory": _memory,
        "constrained_topk": _steps,
        "trie_edits": _edits,
        "trie_compaction": _edits,
        "certificates": lambda rows: iter([certificates_table({"rows": rows})]),
    }
    benches: dict[str, list[Row]] = {}
    for row in report["rows"]:
        benches.setdefault(row["bench"], []).append(row)
    for bench, rows in benches.items():
        layout = layouts.get(bench)
        yield from layout(rows) if layout else bench_tables({"rows": rows})


def _build(rows: Rows) -> Iterator[Table]:
    table = _table(
        "trie_build", "items", "threads", "s", "adding", "finishing", "M items/s", "peak MB"
    )
    table.caption = (
        "seconds; peak: resident memory of a process that does nothing else, NumPy included"
    )
    for row in rows:
        table.add_row(
            f"{row['case']['N']:,}",
            str(row["threads"]),
            *(f"{row[name]:.3g}" for name in ("median_s", "add_s", "finish_s")),
            f"{row['items_per_s'] / 1e6:.1f}",
            f"{row['peak_rss_bytes'] / 1e6:,.0f}",
        )
    yield table


def _memory(rows: Rows) -> Iterator[Table]:
    table = _table(
        "trie_memory", "items", "bytes/item", "CSR int32", "CSR int64", "open ms", "verify ms"
    )
    table.caption = "CSR: a token of 4 or 8 bytes per node and a 4-byte offset per inner node"
    for (items,), found in _methods(rows, "N").items():
        native = found["native"]
        table.add_row(
            f"{items:,}",
            *(f"{row['bytes_per_item']:.2f}" for row in found.values()),
            *(f"{native[name] * 1e3:.3g}" for name in ("open_s", "verify_s")),
        )
    yield table


def _steps(rows: Rows) -> Iterator[Table]:
    names = ("normalise", "B", "M", "threads", "denied", "catalogue")
    table = _table(
        "constrained_topk", *names, "children", "native", "op", "torch CSR", "ratio", "of roof"
    )
    table.caption = "microseconds per step; ratio: torch CSR / native"
    found = _methods(rows, *names)
    for case, methods in found.items():
        native = methods["native"]
        table.add_row(
            *map(str, case),
            f"{native['case']['children']:,}",
            *(f"{methods[name]['median_s'] * 1e6:.1f}" for name in ("native", "op", "torch_csr")),
            f"{native['ratio']:.1f}",
            f"{native['roof_share']:.1%}",
        )
    yield table
    yield _step_ratios({case: methods["native"]["median_s"] for case, methods in found.items()})


def _step_ratios(seconds: dict[tuple[Any, ...], float]) -> Table:
    """Lay out what a skewed catalogue and what denied items cost the native step."""
    head = ("normalise", "B", "M", "threads")
    table = _table("constrained_topk, native: ratios of times", *head)
    most = max(denied for *_, denied, _ in seconds)
    pairs = {
        "skewed / uniform": ((0, "skewed"), (0, "uniform")),
        "the same, denied": ((most, "skewed"), (most, "uniform")),
        "denied / free": ((most, "uniform"), (0, "uniform")),
        "the same, skewed": ((most, "skewed"), (0, "skewed")),
    }
    for name in pairs:
        table.add_column(name, justify="right")
    for case in dict.fromkeys(key[: len(head)] for key in seconds):
        ratios = (seconds[case + above] / seconds[case + below] for above, below in pairs.values())
        table.add_row(*map(str, case), *(f"{ratio:.2f}" for ratio in ratios))
    return table


def _edits(rows: Rows) -> Iterator[Table]:
    table = _table(rows[0]["bench"], "pending", "batch", "", "ms", "p99", "per second")
    for row in rows:
        table.add_row(
            f"{row['case']['pending']:,}",
            str(row["case"].get("batch", "all")),
            row["backend"],
            *(f"{row[name] * 1e3:.3g}" for name in ("median_s", "p99_s")),
            f"{row['items_per_s']:,.0f}",
        )
    yield table


def _methods(rows: Rows, *names: str) -> Methods:
    """Group rows by parts of their case (or by fields of the row), then by backend."""
    found: Methods = {}
    for row in rows:
        key = tuple(row["case"].get(name, row.get(name)) for name in names)
        found.setdefault(key, {})[row["backend"]] = row
    return found


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    return table
