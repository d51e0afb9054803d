"""The files of a report: JSON for machines, Markdown and pictures for people."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mmgrec.profiling.bench_schema import Report
from mmgrec.profiling.growth_plot import plot_growth
from mmgrec.profiling.ratio_plot import plot_ratios
from mmgrec.profiling.report_markdown import markdown
from mmgrec.profiling.roofline_plot import plot_roofline

JSON, MARKDOWN = "report.json", "report.md"
PICTURES: dict[str, Callable[[Report, Path], bool]] = {
    "roofline.png": plot_roofline,
    "ratios.png": plot_ratios,
    "growth.png": plot_growth,
}
"""What draws a picture; false where the report has nothing for it."""


def write_report(report: Report, folder: Path) -> None:
    """Write the JSON."""
    text = json.dumps(report, indent=1) + "\n"
    write_file(folder / JSON, lambda path: path.write_text(text, encoding="utf-8"))


def write_results(report: Report, folder: Path) -> None:
    """Write everything; a picture of an earlier report that this one has no rows for goes."""
    write_report(report, folder)
    drawn = [name for name, draw in PICTURES.items() if _draw(report, draw, folder / name)]
    text = markdown(report, drawn)
    write_file(folder / MARKDOWN, lambda path: path.write_text(text, encoding="utf-8"))


def _draw(report: Report, draw: Callable[[Report, Path], bool], path: Path) -> bool:
    drawn = write_file(path, lambda partial: draw(report, partial))
    return bool(drawn)


def write_file(path: Path, write: Callable[[Path], object]) -> object:
    """Have a file written beside its place and move it there whole; return what was returned.

    Where nothing was written, an older file is removed.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        partial = Path(folder) / path.name
        result = write(partial)
        if partial.exists():
            os.replace(partial, path)
        else:
            path.unlink(missing_ok=True)
    return result
