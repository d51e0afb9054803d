"""Bars: how many times faster than the strongest baseline, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from mmgrec.profiling.bench_schema import Report, Row
from mmgrec.profiling.report_labels import BENCHES, by_bench, case_parts, three_digits, varying

THREADS = ("#0072B2", "#56B4E9", "#009E73")
"""Colours of one, two and more threads; told apart with any eyes, and by brightness."""
TEXT = "#333333"
BAR, GAP, HEAD = 0.19, 0.06, 0.5
"""Inches of a bar, between two cases, and of a heading."""

Cases = dict[str, list[Row]]
"""Label of a case to its rows, one per number of threads."""


def plot_ratios(report: Report, file: BinaryIO) -> bool:
    """Draw one bar per case and number of threads, in groups per bench; logarithmic.

    Bars are of the first of our methods of each case. False where no row has a ratio.
    """
    groups = _groups(report)
    if not groups:
        return False
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    heights = [HEAD + BAR * _bars(cases) + GAP * len(cases) for cases in groups.values()]
    figure, axes = plt.subplots(
        len(groups),
        figsize=(5.4, sum(heights) + 0.8),
        height_ratios=heights,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    ratios = [row["ratio"] for cases in groups.values() for rows in cases.values() for row in rows]
    for place, (bench, cases) in zip(axes[:, 0], groups.items(), strict=True):
        _group(place, bench, cases)
        place.set_xlim(min(0.8, min(ratios) / 1.3), max(ratios) * 2)
    _legend(
        figure, {row["threads"] for cases in groups.values() for c in cases.values() for row in c}
    )
    figure.savefig(file, format="png", dpi=200)
    plt.close(figure)
    return True


def _groups(report: Report) -> dict[str, Cases]:
    found: dict[str, Cases] = {}
    for bench, rows in by_bench(report).items():
        firsts: dict[tuple[str, ...], Row] = {}
        for row in rows:
            if row["ours"] and "median_s" in row and "ratio" in row:
                firsts.setdefault(tuple(case_parts(row).values()), row)
        names = varying(list(firsts.values()))
        for row in firsts.values():
            found.setdefault(bench, {}).setdefault(_label(row, names), []).append(row)
    return found


def _label(row: Row, names: Sequence[str]) -> str:
    """Name a case: words speak for themselves, and what is 0 need not be said."""
    case = row["case"]
    words = {
        name: value if isinstance(case.get(name), str) else f"{name} {value}"
        for name, value in case_parts(row).items()
        if name in names and name != "threads"
    }
    telling = [word for name, word in words.items() if case.get(name) != 0]
    return ", ".join(telling or words.values()) or "one case"


def _bars(cases: Cases) -> int:
    return sum(map(len, cases.values()))


def _group(axes: Any, bench: str, cases: Cases) -> None:  # noqa: ANN401
    baselines = {row["baseline"] for rows in cases.values() for row in rows}
    ticks, place = [], 0.0
    for rows in cases.values():
        ticks.append(place + (len(rows) - 1) / 2)
        for row in sorted(rows, key=lambda row: row["threads"]):
            _bar(axes, place, row, name_it=len(baselines) > 1)
            place += 1
        place += GAP / BAR
    axes.axvline(1, color=TEXT, lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(ticks, cases, fontsize=9)
    axes.set_ylim(place - 0.6, -0.7)
    against = f", against {next(iter(baselines))}" if len(baselines) == 1 else ""
    axes.set_title(" ", fontsize=10)  # keeps the room
    axes.annotate(
        BENCHES.get(bench, bench) + against,
        (0, 1),
        xycoords=("figure fraction", "axes fraction"),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _bar(axes: Any, place: float, row: Row, *, name_it: bool) -> None:  # noqa: ANN401
    ratio, colour = row["ratio"], THREADS[min(row["threads"], len(THREADS)) - 1]
    # From 1, which is as fast: a bar to the left is slower.
    axes.barh(place, ratio - 1, left=1, height=0.86, color=colour)
    text = three_digits(ratio) + (f" {row['baseline']}" if name_it else "")
    options = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
    axes.annotate(text, (max(ratio, 1.0), place), color=TEXT, **options)


def _legend(figure: Any, counts: set[int]) -> None:  # noqa: ANN401
    from matplotlib.patches import Patch

    patches = [
        Patch(color=THREADS[min(n, len(THREADS)) - 1], label=f"{n} thread{'s' * (n > 1)}")
        for n in sorted(counts)
    ]
    figure.legend(
        handles=patches, loc="outside upper left", ncols=len(patches), fontsize=9, frameon=False
    )
    figure.supxlabel("times faster than the strongest baseline of the run", fontsize=10)
