"""`mmgrec bench`: run cases, collect rows, lay them out for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from rich.table import Table

from mmgrec.profiling.cases import Case, run_case
from mmgrec.profiling.environment import machine
from mmgrec.profiling.relation_attention_cases import relation_attention_cases
from mmgrec.profiling.roof import Roof, begin_bench, measure_roof
from mmgrec.profiling.rq_assign_cases import rq_assign_cases

OURS = ("native", "triton", "cuda")


def bench_ops(tell: Callable[[str], None]) -> dict[str, Any]:
    """Benchmark every op beside its baselines, on the GPU as well where there is one.

    Parameters
    ----------
    tell : callable
        Gets the name of each case before it runs.

    Returns
    -------
    dict
        ``machine``, ``roof`` and ``rows``.
    """
    counts, roof = begin_bench(tell)
    report: dict[str, Any] = {
        "machine": machine(),
        "roof": roof.as_json(),
        "rows": _rows("cpu", counts, roof, tell),
    }
    if torch.cuda.is_available():
        gpu = measure_roof((1,), "cuda")
        report["gpu_roof"] = gpu.as_json()
        report["rows"] += [{**row, "device": "cuda"} for row in _rows("cuda", (1,), gpu, tell)]
    return report


def _rows(
    device: str, counts: tuple[int, ...], roof: Roof, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    makers: Iterable[Callable[[], Case]] = (
        *relation_attention_cases(device),
        *rq_assign_cases(device),
    )
    for make in makers:
        case = make()
        tell(f"{case.title} on the {device}")
        rows += run_case(case, counts, roof, device)
    return rows


def bench_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Lay out one table per case, our backends in bold."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        title = " ".join([row["bench"], *(f"{k}={v}" for k, v in row["case"].items())])
        cases.setdefault(title + (" on the GPU" if "device" in row else ""), []).append(row)
    for title, rows in cases.items():
        yield _table(title, rows)


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    counts = sorted({row["threads"] for row in rows})
    for count in counts:
        for name in (f"{count} thread{'s' if count > 1 else ''} ms", "ratio", "of roof"):
            table.add_column(name, justify="right")
    for backend in dict.fromkeys(row["backend"] for row in rows):
        cells = []
        for row in sorted((r for r in rows if r["backend"] == backend), key=lambda r: r["threads"]):
            cells += [f"{row['median_s'] * 1e3:.2f}", f"{row['ratio']:.2f}"]
            cells.append(f"{row['roof_share']:.0%}" if "roof_share" in row else "")
        table.add_row(backend, *cells, style="bold" if backend in OURS else None)
    return table


def describe_machine(report: dict[str, Any]) -> str:
    """Name the processor and its measured roofs in one line."""
    roof = ", ".join(f"{name} {value:.1f}" for name, value in report["roof"].items())
    return f"{report['machine']['processor']}, {report['machine']['simd']}: {roof}"
