"""`mmgrec bench`: run cases, collect rows, lay them out for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.table import Table

from mmgrec.profiling.bench_schema import Report, Row, make_report
from mmgrec.profiling.cases import case_rows
from mmgrec.profiling.relation_attention_cases import relation_attention_cases
from mmgrec.profiling.roof import Roof, begin_bench
from mmgrec.profiling.rq_assign_cases import rq_assign_cases


def bench_ops(tell: Callable[[str], None]) -> Report:
    """Benchmark every op that has a backend for the processor, beside its baselines.

    Parameters
    ----------
    tell : callable
        Gets the name of each case before it runs.
    """
    counts, roof = begin_bench(tell)
    return make_report(roof.as_json(), ops_rows(counts, roof, tell))


def ops_rows(counts: tuple[int, ...], roof: Roof, tell: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of the ops."""
    return case_rows([*relation_attention_cases(), *rq_assign_cases()], counts, roof, tell)


def bench_tables(report: Report) -> Iterator[Table]:
    """Lay out one table per case, our backends in bold."""
    cases: dict[str, list[Row]] = {}
    for row in report["rows"]:
        title = " ".join([row["bench"], *(f"{k}={v}" for k, v in row["case"].items())])
        cases.setdefault(title + (" on the GPU" if "device" in row else ""), []).append(row)
    for title, rows in cases.items():
        yield _table(title, rows)


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    counts = sorted({row["threads"] for row in rows})
    for count in counts:
        for name in (f"{count} thread{'s' if count > 1 else ''} ms", "ratio", "of roof"):
            table.add_column(name, justify="right")
    ours = {row["backend"] for row in rows if row.get("ours")}
    for backend in dict.fromkeys(row["backend"] for row in rows):
        cells = []
        for row in sorted((r for r in rows if r["backend"] == backend), key=lambda r: r["threads"]):
            cells += [f"{row['median_s'] * 1e3:.2f}", f"{row['ratio']:.2f}"]
            cells.append(f"{row['roof_share']:.0%}" if "roof_share" in row else "")
        table.add_row(backend, *cells, style="bold" if backend in ours else None)
    return table


def describe_machine(report: Report) -> str:
    """Name the processor and its measured roofs in one line."""
    roof = ", ".join(f"{name} {value:.1f}" for name, value in report["roof"].items())
    return f"{report['machine']['processor']}, {report['machine']['simd']}: {roof}"
