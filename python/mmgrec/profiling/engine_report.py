"""`mmgrec bench engine`: whole requests beside the alternatives, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table

from mmgrec.profiling.bench_schema import Report, Row, make_report
from mmgrec.profiling.cases import case_rows
from mmgrec.profiling.engine_cases import engine_cases
from mmgrec.profiling.engine_world import World
from mmgrec.profiling.filter_request_cases import filter_request_cases
from mmgrec.profiling.growth_cases import growth_rows
from mmgrec.profiling.roof import Roof, begin_bench

SMALLEST = 10**4


def bench_engine(largest: int, tell: Callable[[str], None]) -> Report:
    """Benchmark requests on catalogues of 10^4, 10^5, ... up to ``largest`` items.

    Parameters
    ----------
    largest : int
        Items of the largest catalogue; 10^7 take 9 GB of memory, most of it the baselines'.
    tell : callable
        Gets the name of each case before it runs.
    """
    counts, roof = begin_bench(tell)
    sizes = _sizes(largest)
    return make_report(roof.as_json(), engine_rows(sizes, sizes, counts, roof, tell))


def engine_rows(
    growth: Sequence[int],
    requests: Sequence[int],
    counts: tuple[int, ...],
    roof: Roof,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Yield the rows of catalogues of so many items: of retrieval, and of some also of requests."""
    for items in growth:
        tell(f"a catalogue of {items:,} items")
        world = World(items)
        if items in requests:
            yield from case_rows(engine_cases(world), counts, roof, tell)
            yield from case_rows(filter_request_cases(world), counts, roof, tell)
        yield from growth_rows(world, tell)


def _sizes(largest: int) -> list[int]:
    sizes = [SMALLEST]
    while sizes[-1] * 10 <= largest:
        sizes.append(sizes[-1] * 10)
    return sizes


def engine_tables(report: Report) -> Iterator[Table]:
    """Lay out requests per batch size, filtered ones, then growth."""
    for bench in ("engine_latency", "engine_batch"):
        yield _requests(bench, _rows(report, bench))
    yield _filtered(_rows(report, "filtered_request"))
    yield _growth(_rows(report, "retrieval_growth"))


def _rows(report: Report, bench: str) -> list[Row]:
    return [row for row in report["rows"] if row["bench"] == bench]


def _requests(bench: str, rows: list[Row]) -> Table:
    table = Table(title=bench, title_justify="left", caption_justify="left")
    table.caption = "ms per call; floor: the model's arithmetic at this machine's measured rate"
    names = ("items", "users", "beams", "threads", "", "p50", "p99", "users/s", "x floor")
    for name in (*names, "slower than native"):
        table.add_column(name, justify="right")
    native = {_key(row): row for row in rows if row["backend"] == "native"}
    for row in rows:
        ours = row["backend"].startswith("native")
        slower = row["median_s"] / native[_key(row)]["median_s"]
        table.add_row(
            f"{row['case']['N']:,}",
            *(str(row["case"][name]) for name in ("B", "M")),
            str(row["threads"]),
            row["backend"],
            *(f"{row[name] * 1e3:.3g}" for name in ("median_s", "p99_s")),
            f"{row['items_per_s']:,.0f}",
            f"{1 / row['roof_share']:.2f}",
            "" if row["backend"] == "native" else f"{slower:.2f}x",
            style="bold" if ours else None,
        )
    return table


def _key(row: Row) -> tuple[Any, ...]:
    return (*row["case"].values(), row["threads"])


def _filtered(rows: list[Row]) -> Table:
    table = Table(title="filtered_request", title_justify="left", caption_justify="left")
    table.caption = "ms per request of one user, one thread; denied ids told in different ways"
    for name in ("items", "denied", "beams", "", "p50", "p99", "x unfiltered"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(f"{row['case'][name]:,}" for name in ("N", "denied", "M")),
            row["backend"],
            *(f"{row[name] * 1e3:.3g}" for name in ("median_s", "p99_s")),
            f"{1 / row['ratio']:.2f}",
            style="bold" if row["ours"] else None,
        )
    return table


def _growth(rows: list[Row]) -> Table:
    table = Table(title="retrieval_growth", title_justify="left", caption_justify="left")
    table.caption = "ms per request, one thread; ours includes the model, the others get a vector"
    sizes = sorted({row["case"]["N"] for row in rows})
    for name in ("", *(f"{size:,}" for size in sizes), "recall@10"):
        table.add_column(name, justify="right")
    for backend in dict.fromkeys(row["backend"] for row in rows):
        own = {row["case"]["N"]: row for row in rows if row["backend"] == backend}
        recall = [row["recall@10"] for row in own.values() if "recall@10" in row]
        table.add_row(
            backend,
            *(f"{own[size]['median_s'] * 1e3:.3g}" if size in own else "" for size in sizes),
            f"{min(recall):.2f} to {max(recall):.2f}" if recall else "",
            style="bold" if backend.startswith("native") else None,
        )
    return table
