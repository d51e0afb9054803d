"""The kernels' report for people: four narrow tables per kernel, readable at 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from rich import box
from rich.table import Table

from mmgrec.profiling.kernel_devices import DEVICES

Row = dict[str, Any]
WIDTH = 100

ARITHMETIC = {
    "mma": "matrix",
    "fma": "fma",
    "add mul": "add_mul",
    "oth. fp": "float_other",
    "mufu": "special",
    "cvt": "convert",
    "int": "integer",
    "move": "move",
    "shfl": "exchange",
    "bar": "barrier",
    "ctl": "control",
    "else": "other",
}
"""Column to class of instructions."""

LEGEND = "mma: matrix units; mufu: special functions; shfl: between lanes; ctl: branches"

MEMORY = {
    "ldg": "global_load",
    "stg": "global_store",
    "lds": "shared_load",
    "sts": "shared_store",
}
OTHER_MEMORY = {
    "async": "async_copy",
    "tmem": "tensor_memory",
    "atom": "atomic",
    "const": "constant",
    "spill": "local",
}
MEMORY_LEGEND = (
    "ldg, stg: global loads, stores; lds, sts: shared; below: bits per thread; tmem: tensor memory"
)


def kernel_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Lay the report out: per kernel what it takes, its instructions and its roofline."""
    measured = any("measured_s" in row for row in report["kernels"])
    for kernel, group in groupby(report["kernels"], key=lambda row: row["kernel"]):
        rows = list(group)
        yield _resources(f"{kernel} on {report['target']}", rows)
        yield _counts("instructions in its code, static", rows, ARITHMETIC)
        yield _memory(rows)
        yield _roofline(rows, measured)


def config_of(row: Row) -> str:
    """Name a configuration in few letters: "fp32 head_width 64" is "fp32 64"."""
    return " ".join(str(value) for value in row["config"].values())


def _table(title: str, row: Row, caption: str | None = None) -> Table:
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("\n".join(row["config"]), no_wrap=True)
    return table


def _fill(table: Table, rows: list[Row], columns: Mapping[str, Callable[[Row], str]]) -> Table:
    """Add right-aligned columns; headings break at spaces."""
    for heading in columns:
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(config_of(row), *(cell(row) for cell in columns.values()))
    return table


def _blocks(resource: str) -> Callable[[Row], str]:
    return lambda row: str(row["blocks"][resource])


def _resources(title: str, rows: list[Row]) -> Table:
    columns: dict[str, Callable[[Row], str]] = {
        "warps": lambda row: str(row["warps"]),
        "regs": lambda row: str(row["registers"]),
        "spilled bytes": lambda row: str(row["spill_bytes"]),
        "shared bytes": lambda row: f"{row['shared_bytes']:,}",
        "static": lambda row: f"{row['static_shared_bytes']:,}",
        "blocks by regs": _blocks("registers"),
        "by shared": _blocks("shared memory"),
        "by warps": _blocks("warps"),
        "most": _blocks("blocks"),
        "limit": lambda row: row["limited_by"].split()[0],
        "occu- pancy": lambda row: f"{row['occupancy']:.0%}",
    }
    return _fill(_table(title, rows[0]), rows, columns)


def _count(kind: str) -> Callable[[Row], str]:
    return lambda row: str(row["mix"].get(kind, ""))


def _counts(title: str, rows: list[Row], columns: Mapping[str, str]) -> Table:
    cells: dict[str, Callable[[Row], str]] = {"all": lambda row: f"{sum(row['mix'].values()):,}"}
    cells |= {heading: _count(kind) for heading, kind in columns.items()}
    return _fill(_table(title, rows[0], LEGEND), rows, cells)


def _accesses(kind: str, bits: str) -> Callable[[Row], str]:
    return lambda row: str(row["widths"].get(kind, {}).get(bits, ""))


def _memory(rows: list[Row]) -> Table:
    """Only the widths and the kinds that this kernel has."""
    cells: dict[str, Callable[[Row], str]] = {}
    for heading, kind in MEMORY.items():
        found = {bits for row in rows for bits in row["widths"].get(kind, {})}
        for bits in sorted(found, key=int, reverse=True):
            cells[f"{heading} {bits}"] = _accesses(kind, bits)
    for heading, kind in OTHER_MEMORY.items():
        if any(row["mix"].get(kind) for row in rows):
            cells[heading] = _count(kind)
    return _fill(_table("memory instructions, static", rows[0], MEMORY_LEGEND), rows, cells)


def _shape(row: Row) -> str:
    """Name the example without what the configuration says already."""
    known = {"d", "D", "N", "E", "F"} if "dtype" in row["config"] else {"M", "W", "N"}
    shape = {k: v for k, v in row["example"].items() if k not in known or (k == "N" and v > 1024)}
    return " ".join(f"{key}={_short(value)}" for key, value in shape.items())


def _short(value: int) -> str:
    return f"{value // 1000}k" if value >= 10_000 and value % 1000 == 0 else str(value)


def _number(value: float) -> str:
    """Three digits, and never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _microseconds(device: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = row["predicted"][device]
        return _number(found["seconds"] * 1e6) + ("*" if found["bound"] == "memory" else " ")

    return cell


def _roofline(rows: list[Row], measured: bool) -> Table:
    cells: dict[str, Callable[[Row], str]] = {
        "example": _shape,
        "MFLOP": lambda row: _number(row["flops"] / 1e6),
        "MB": lambda row: _number(row["bytes"] / 1e6),
        "FLOP /B": lambda row: _number(row["intensity"]),
        "unit": lambda row: row["unit"] + (f" x{row['products']}" if row["products"] > 1 else ""),
    }
    cells |= {f"{name} us": _microseconds(name) for name in DEVICES}
    if measured:
        cells["measured us"] = lambda row: (
            _number(row["measured_s"] * 1e6) if "measured_s" in row else ""
        )
    caption = "prediction from datasheets; * bound by memory, else by arithmetic of the unit"
    return _fill(_table("roofline", rows[0], caption), rows, cells)
