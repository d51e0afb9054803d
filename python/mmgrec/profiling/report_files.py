"""The files of a report: JSON for machines, Markdown and pictures for people."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mmgrec.profiling.bench_schema import Report
from mmgrec.profiling.growth_plot import plot_growth
from mmgrec.profiling.ratio_plot import plot_ratios
from mmgrec.profiling.report_markdown import markdown
from mmgrec.profiling.roofline_plot import plot_roofline
from mmgrec_engine.artifact import write_file
from mmgrec_engine.writers import write_bytes

JSON, MARKDOWN = "report.json", "report.md"
Draw = Callable[[Report, BinaryIO], bool]
PICTURES: dict[str, Draw] = {
    "roofline.png": plot_roofline,
    "ratios.png": plot_ratios,
    "growth.png": plot_growth,
}
"""What draws a picture; false where the report has nothing for it."""


def write_report(report: Report, folder: Path) -> None:
    """Write the JSON."""
    text = json.dumps(report, indent=1) + "\n"
    write_file(folder / JSON, write_bytes(text.encode()))


def write_results(report: Report, folder: Path) -> None:
    """Write everything; a picture of an earlier report that this one has no rows for goes."""
    write_report(report, folder)
    drawn = [name for name, draw in PICTURES.items() if write_picture(report, draw, folder / name)]
    write_file(folder / MARKDOWN, write_bytes(markdown(report, drawn).encode()))


def write_picture(report: Report, draw: Draw, path: Path) -> bool:
    """Draw a picture, or remove an older one where the report has nothing for it."""
    picture = io.BytesIO()
    drawn = draw(report, picture)
    if drawn:
        write_file(path, write_bytes(picture.getvalue()))
    else:
        path.unlink(missing_ok=True)
    return drawn
