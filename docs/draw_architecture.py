"""Draws `images/architecture.svg` from the imports: `python docs/draw_architecture.py`.

::

    rooms  = sub-packages; some modules share a room
    arrows = a room imports another; what follows from two other arrows is left out
    green  = rooms that may not import torch, by the contract in pyproject.toml

Only the places of the boxes and their captions are written by hand. A test draws it again and
compares.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/architecture.svg"
TORCHLESS = "Serving on the CPU needs no torch"

ENGINE = "mmgrec_engine."
SHARED = {
    "engine": ["live_items", "requests", "batch_requests", "searchers"],
    "artifact": ["writers"],
    "errors": ["settings"],
    "_native": ["native_errors"],
}
"""Modules of the engine that are shown in another's box."""


@dataclass(frozen=True)
class Box:
    """A room: where it stands (column, row) and what it is."""

    column: float
    row: int
    caption: str


BOXES = {
    "mmgrec.cli": Box(1.5, 0, "one file per verb"),
    "mmgrec.profiling": Box(0, 1, "bench, profile, doctor"),
    "mmgrec.experiments": Box(2, 1, "results tables"),
    "mmgrec.reports": Box(3, 1, "a page on a run"),
    "mmgrec.serving": Box(1, 2, "HTTP, micro-batches"),
    "mmgrec.scoring": Box(0, 2, "Parquet to Parquet"),
    "mmgrec.evaluation": Box(2, 3, "metrics, baselines"),
    "mmgrec.training": Box(2.5, 2, "stages, presets"),
    "mmgrec.data": Box(3, 4, "import, split"),
    "mmgrec_engine.engine": Box(1, 5, "requests and edits"),
    "mmgrec_engine.decoding": Box(0.25, 6, "beam and exact search"),
    "mmgrec_engine.model_folder": Box(1.25, 6, "a model on disk"),
    "mmgrec_engine.rec_ids": Box(2.25, 6, "codes to Rec-IDs"),
    "mmgrec_engine.models": Box(0.75, 7, "what is trained"),
    "mmgrec_engine.ops": Box(1.25, 8, "contracts, references"),
    "mmgrec_engine.kernels": Box(0.5, 9, "Triton"),
    "mmgrec_engine.catalog": Box(1.75, 9, "trie, filters, edits"),
    "mmgrec_engine._native": Box(1.25, 10, "C++ and CUDA, csrc/"),
    "mmgrec_engine.artifact": Box(3, 10, "folders, checksums"),
    "mmgrec_engine.errors": Box(2, 11, "errors, settings"),
}

WIDTH, HEIGHT, GAP, STEP, MARGIN = 150, 44, 190, 78, 20
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle }
  .caption { font-size: 11px; fill: #57606a }
  .package { font-size: 12px; fill: #57606a; text-anchor: start }
  rect { fill: #eef1f5; stroke: #8c959f }
  .torchless { fill: #dcf3e3; stroke: #2da44e }
  .page { fill: #ffffff; stroke: none }
  .border { stroke: #d0d7de; stroke-dasharray: 5 4; marker-end: none }
  path { fill: none; stroke: #6e7781; stroke-width: 1.2; marker-end: url(#tip) }
  marker path { fill: #6e7781; stroke: none; marker-end: none }
"""


def room_of(module: str) -> str | None:
    """Return the box that a module stands in; None for the packages themselves."""
    package, _, rest = module.partition(".")
    first = rest.split(".")[0]
    if not first or first.startswith("__"):
        return None
    for room, modules in SHARED.items():
        if f"{package}." == ENGINE and first in modules:
            return ENGINE + room
    return f"{package}.{first}"


def imports() -> dict[str, set[str]]:
    """Return which rooms every room imports."""
    graph = grimp.build_graph(
        "mmgrec", "mmgrec_engine", exclude_type_checking_imports=True, cache_dir=None
    )
    found: dict[str, set[str]] = {ENGINE + "_native": set()}
    for module in graph.modules:
        room = room_of(module)
        if room is None:
            continue
        used = found.setdefault(room, set())
        for imported in graph.find_modules_directly_imported_by(module):
            details = graph.get_import_details(importer=module, imported=imported)
            if any("import _native" in detail["line_contents"] for detail in details):
                used.add(ENGINE + "_native")
            used.add(room_of(imported) or room)
        used.discard(room)
    return found


def essential(used: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports that do not follow from others (the transitive reduction)."""

    def reached(room: str) -> set[str]:
        return used[room].union(*(reached(other) for other in used[room]))

    return sorted(
        (room, other)
        for room in used
        for other in used[room]
        if not any(other in reached(via) for via in used[room] - {other})
    )


def torchless() -> set[str]:
    """Return the rooms that the contract names."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    (contract,) = (found for found in contracts if found["name"] == TORCHLESS)
    return set(contract["source_modules"])


def draw() -> str:
    """Return the picture."""
    used = imports()
    if used.keys() != BOXES.keys():
        raise SystemExit(f"either no box or no room: {sorted(used.keys() ^ BOXES.keys())}")
    width = 2 * MARGIN + 3 * GAP + WIDTH
    height = 2 * MARGIN + STEP * max(box.row for box in BOXES.values()) + HEIGHT + 26
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Which part of mmgrec-engine imports which</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    lines += border(width)
    lines += [arrow(BOXES[room], BOXES[other]) for room, other in essential(used)]
    lines += [box(name, name in torchless()) for name in BOXES]
    y = height - MARGIN
    lines.append(f'<rect class="torchless" x="{MARGIN}" y="{y - 11}" width="22" height="14"/>')
    lines.append(
        f'<text class="caption" x="{MARGIN + 30}" y="{y}" style="text-anchor: start">'
        "green: serves on the CPU without torch (lint-imports checks it)</text>"
    )
    return "\n".join([*lines, "</svg>", ""])


def border(width: int) -> list[str]:
    """Return the line between the two packages, with their names."""
    y = MARGIN + STEP * min(b.row for name, b in BOXES.items() if name.startswith(ENGINE))
    y -= (STEP - HEIGHT) // 2
    names = [("mmgrec", y - 6), ("mmgrec_engine", y + 15)]
    return [f'<path class="border" d="M{MARGIN} {y} H{width - MARGIN}"/>'] + [
        f'<text class="package" x="{MARGIN}" y="{at}">{name}</text>' for name, at in names
    ]


def corner(place: Box) -> tuple[float, float]:
    """Return the upper left corner of a box."""
    return MARGIN + GAP * place.column, MARGIN + STEP * place.row


def box(name: str, green: bool) -> str:
    """Return a box with its name and caption."""
    x, y = corner(BOXES[name])
    short = name.partition(".")[2]
    kind = ' class="torchless"' if green else ""
    return (
        f'<g><title>{name}</title><rect{kind} x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}"'
        f' rx="6"/><text x="{x + WIDTH / 2:g}" y="{y + 19:g}">{escape(short)}</text>'
        f'<text class="caption" x="{x + WIDTH / 2:g}" y="{y + 34:g}">'
        f"{escape(BOXES[name].caption)}</text></g>"
    )


def arrow(start: Box, end: Box) -> str:
    """Return a curve from the lower edge of a box to the upper edge of another."""
    (x0, y0), (x1, y1) = corner(start), corner(end)
    # Leave and arrive where the other box is, so that arrows of one box fan out.
    x0 += WIDTH / 2 + max(-50.0, min(50.0, (x1 - x0) / 6))
    x1 += WIDTH / 2 - max(-50.0, min(50.0, (x1 + WIDTH / 2 - x0) / 6))
    y0 += HEIGHT
    bend = min(40.0, (y1 - y0) / 2)
    return (
        f'<path d="M{x0:.1f} {y0:.1f} C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f}'
        f' {x1:.1f} {y1 - 2:.1f}"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"written: {PICTURE}")
