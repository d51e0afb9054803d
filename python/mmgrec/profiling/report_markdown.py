"""A report as Markdown: the machine, the pictures, one table per bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmgrec.profiling.bench_schema import Report, Row
from mmgrec.profiling.report_labels import (
    BENCHES,
    by_bench,
    case_parts,
    duration,
    three_digits,
    varying,
)

CAPTIONS = {
    "roofline.png": "Rate reached over operations per byte, under this machine's measured roofs",
    "ratios.png": "How many times faster than the strongest baseline of the same run",
    "growth.png": "Time of one request against the size of the catalogue",
}


def markdown(report: Report, pictures: Sequence[str]) -> str:
    """Lay a report out; the pictures lie beside it."""
    blocks = ["# Benchmarks: " + report["machine"]["processor"], _about(report)]
    blocks += [_roofs(report[name]) for name in ("roof", "gpu_roof") if report.get(name)]
    blocks += [f"![{CAPTIONS[name]}]({name})" for name in pictures]
    blocks.append(
        "Times are medians of warm calls, all methods of a case in turn. ±: what one round "
        "scatters, as a share of the median. The baseline is the strongest of the case; the ratio "
        "is its time over ours. Of the roof: the least time that the measured rates allow, over "
        "the median."
    )
    for bench, rows in by_bench(report).items():
        blocks += [f"## {BENCHES.get(bench, bench)} (`{bench}`)", *_constant(rows), _table(rows)]
    return "\n\n".join(blocks) + "\n"


def _about(report: Report) -> str:
    machine, versions = report["machine"], report["versions"]
    facts = {
        "processor": f"{machine['processor']}, {machine['cores']} cores, {machine['simd']}",
        "memory": machine["memory"],
        "GPU": machine["gpu"] or "none",
        "mmgrec-engine": f"{report['mmgrec_engine']}, commit {report['commit'] or 'unknown'}",
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items() if found),
        "made": f"{report['made']}, in {report['seconds'] / 60:.1f} min",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    for name, part in report["parts"].items():
        failed = f"; **failed: {part['error'].splitlines()[0]}**" if "error" in part else ""
        lines.append(f"| part {name} | {part['seconds']:.0f} s{failed} |")
    return "\n".join(lines)


def _roofs(roof: dict[str, float]) -> str:
    head = "| " + " | ".join(roof) + " |"
    rule = "|" + "---:|" * len(roof)
    return "\n".join([head, rule, "| " + " | ".join(map(three_digits, roof.values())) + " |"])


def _constant(rows: Sequence[Row]) -> list[str]:
    changing = varying(rows)
    same = {name: value for name, value in case_parts(rows[0]).items() if name not in changing}
    return [", ".join(f"{name} {value}" for name, value in same.items())] if same else []


def _table(rows: Sequence[Row]) -> str:
    names = varying(rows)
    # Where nobody is held against anybody, all are listed.
    listed = [row for row in rows if row["ours"] or "baseline" not in row]
    cells = [
        {name: case_parts(row).get(name, "") for name in names} | dict(_figures(row))
        for row in listed
    ]
    columns = list(dict.fromkeys(name for row in cells for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---:|" * len(columns)]
    lines += ["| " + " | ".join(row.get(name, "") for name in columns) + " |" for row in cells]
    return "\n".join(lines)


def _figures(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the columns that a row has something for."""
    yield "method", row["backend"]
    if "offered_per_s" in row:
        yield "offered/s", f"{row['offered_per_s']:,.0f}"
    if "requests_per_s" in row:
        yield "answered/s", f"{row['requests_per_s']:,.0f}"
        yield "failed", str(sum(row["failed"].values()))
    if "median_s" in row:
        yield "median", duration(row["median_s"])
    if "noise" in row:
        yield "±", f"{row['noise']:.1%}"
    if "p99_s" in row:
        yield "p99", duration(row["p99_s"])
    if "cpu_s_per_request" in row:
        yield "processor time", duration(row["cpu_s_per_request"])
    if "peak_rss_bytes" in row:
        yield "peak MB", f"{row['peak_rss_bytes'] / 1e6:,.0f}"
    if "bytes_per_item" in row:
        yield "bytes/item", f"{row['bytes_per_item']:.2f}"
    if "recall@10" in row:
        yield "recall@10", f"{row['recall@10']:.2f}"
    if "baseline" in row:
        if "baseline_median_s" in row:
            yield "baseline", f"{row['baseline']} {duration(row['baseline_median_s'])}"
        else:
            yield "baseline", row["baseline"]
    if "ratio" in row:
        yield "ratio", f"**{row['ratio']:.2f}**"
    if "roof_share" in row:
        digits = 1 if row["roof_share"] < 0.1 else 0
        yield "of the roof", f"{row['roof_share']:.{digits}%}"
