"""One shape for the reports of all benches: machine, roofs, rows with the same key in every run.

===================== ==============================================================================
field of a row        meaning
===================== ==============================================================================
key, bench, case      what was timed; the same in every run on any machine
backend, threads      who did it; ``device`` where it was not the processor
ours                  whether it is this project's, or somebody it is held against
median_s, best_s      seconds of the median and of the fastest round
p99_s, rounds, noise  99th percentile; rounds that count; `relative_noise`
items_per_s           items, users or queries
baseline              the strongest of the case: ``baseline_median_s``, ``ratio`` to it
flops, bytes          what nobody can do without; ``roof_share``: least time over median time
===================== ==============================================================================

Fields that do not apply are left out; benches add others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmgrec.profiling.environment import commit, machine, versions
from mmgrec_engine import __version__
from mmgrec_engine.errors import ArtifactError

FORMAT, VERSION = "mmgrec bench", 1
OURS = ("native", "triton", "cuda", "op", "graph", "queued", "durable", "in_memory")
"""How the names of our backends begin, for rows that do not say."""

Row = dict[str, Any]
Report = dict[str, Any]


class ReadRow(BaseModel):
    """A row of a report that was read; further fields are kept."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    key: str
    bench: str
    case: dict[str, Any]
    backend: str
    threads: int | None = None
    ours: bool
    median_s: float | None = Field(None, gt=0)
    best_s: float | None = Field(None, gt=0)
    rounds: int | None = Field(None, ge=1)


class ReadReport(BaseModel):
    """A report that was read."""

    model_config = ConfigDict(extra="allow")

    format: Literal["mmgrec bench"]
    version: Literal[1]
    machine: dict[str, Any]
    versions: dict[str, str | None]
    rows: list[ReadRow]


def make_report(roof: Mapping[str, float], rows: Iterable[Row]) -> Report:
    """Put rows into a report of this machine."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "mmgrec_engine": __version__,
        "commit": commit(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "roof": dict(roof),
        "rows": [complete_row(row) for row in rows],
    }


def complete_row(row: Row) -> Row:
    """Add what every row has."""
    ours = row.get("ours", row["backend"].startswith(OURS))
    return {"key": row_key(row), **row, "ours": ours}


def row_key(row: Row) -> str:
    """Name a row in words that are the same in every run."""
    words = [row["bench"], *(f"{name}={value}" for name, value in row["case"].items())]
    words += [row["backend"]]
    if "threads" in row:
        words.append(f"threads={row['threads']}")
    if "device" in row:
        words.append(f"on {row['device']}")
    return " ".join(words).replace(", ", ",")


def relative_noise(best: float, median: float, rounds: int) -> float | None:
    """Return how far rounds scatter, as a share of the median; None of fewer than three.

    ::

        (median - best) / (median x how many deviations the least of so many draws lies below)

    Above the median lie the rounds that something else on the machine disturbed; below it, what
    the work itself scatters.
    """
    if rounds < 3:
        return None
    # Blom's approximation of the expected least of n draws.
    least = -NormalDist().inv_cdf(0.625 / (rounds + 0.25))
    return (median - best) / median / least


def read_report(path: Path) -> ReadReport:
    """Read a report that a bench wrote.

    Raises
    ------
    ArtifactError
        It is damaged, of another version, or no report.
    """
    try:
        return ReadReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ArtifactError(
            f"{path} is not a report that can be compared",
            value=f"{place}: {first['msg']}",
            allowed=f"JSON of `mmgrec bench ... --json` or `bench all`, version {VERSION}",
            remedy="measure again with this version of mmgrec",
        ) from None
