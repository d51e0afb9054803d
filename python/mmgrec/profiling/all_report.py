"""`mmgrec bench all`: every bench in one run, into one folder."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

from mmgrec.profiling.bench_schema import Report, complete_row, make_report
from mmgrec.profiling.report_files import write_report, write_results
from mmgrec.profiling.report_parts import Part, Served, parts_of
from mmgrec.profiling.roof import begin_bench
from mmgrec_engine.artifact import ensure_folder

USUAL_SECONDS = {"ops": 150.0, "trie": 270.0, "engine": 240.0, "serve": 90.0, "device": 150.0}
"""What the parts take on two cores of a server of 2023; the estimate scales them."""


def bench_all(out: Path, served: Served | None, tell: Callable[[str], None]) -> Report:
    """Run all parts, and write the report, its tables and its pictures.

    ::

        roofs of the machine
        part by part: rows;  report.json is written again after each
        a part that fails keeps the rows it has, and the others run
        report.md, roofline.png, ratios.png, growth.png

    Parameters
    ----------
    out : Path
        Folder to write to; made when missing.
    served : tuple, optional
        Folder and histories of a trained run to serve; by default a random model of 100,000 items.
    tell : callable
        Gets the name of each case before it runs, and how long all of it may still take.

    Returns
    -------
    dict
        The report (`bench_schema`). ``parts``: for each its seconds, and ``error`` where it failed.
    """
    ensure_folder(out)
    started = time.monotonic()
    counts, roof = begin_bench(tell)
    report = make_report(roof.as_json(), [])
    report["parts"] = {}
    parts = parts_of(counts, roof, report, served)
    watch = Watch(list(parts), tell)
    for name, part in parts.items():
        watch.begin(name)
        report["parts"][name] = _run_part(report, name, part, watch)
        report["seconds"] = time.monotonic() - started
        write_report(report, out)
    write_results(report, out)
    return report


def _run_part(report: Report, name: str, part: Part, watch: Watch) -> Report:
    """Collect the rows of a part; return what the report says of it."""
    errors = []
    try:
        for row in part(watch):
            if "error" in row:  # one case of many, on a borrowed GPU
                errors.append(f"{row['case']}: {row['error']}")
            else:
                report["rows"].append({"part": name, **complete_row(row)})
    except Exception as error:  # named in the report; what else can be measured, is
        errors.append(f"{type(error).__name__}: {error}")
    gc.collect()
    outcome: Report = {"seconds": watch.part_seconds()}
    return outcome | ({"error": "\n".join(errors)} if errors else {})


class Watch:
    """Tells the case that runs, its part, and what may be left of the whole."""

    def __init__(self, parts: list[str], tell: Callable[[str], None]) -> None:
        self._parts, self._tell, self._done = parts, tell, 0
        self._started = self._began = time.monotonic()

    def begin(self, part: str) -> None:
        """Note that a part begins."""
        self._done, self._began = self._parts.index(part), time.monotonic()

    def part_seconds(self) -> float:
        """Return what the part has taken so far."""
        return time.monotonic() - self._began

    def __call__(self, title: str) -> None:
        """Tell a case."""
        minutes = round(self.left() / 60)
        left = f"about {minutes} min left" if minutes else "nearly done"
        part = self._parts[self._done]
        self._tell(f"{part} ({self._done + 1} of {len(self._parts)}, {left}): {title}")

    def left(self) -> float:
        """Estimate the seconds that are left, by what parts usually take and this run's pace."""
        before = sum(USUAL_SECONDS[part] for part in self._parts[: self._done])
        pace = (self._began - self._started) / before if before else 1.0
        usual = [USUAL_SECONDS[part] * pace for part in self._parts[self._done :]]
        return max(0.0, usual[0] - self.part_seconds()) + sum(usual[1:])
