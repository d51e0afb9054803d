"""The roofline: the rate that each case reaches over its operations per byte."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from mmgrec.profiling.bench_schema import Report, Row
from mmgrec.profiling.report_labels import BENCHES

# Colours that are told apart with any eyes (Okabe and Ito), and shapes for those who print.
STYLES = {
    "relation_attention": ("#0072B2", "o"),
    "rq_assign": ("#D55E00", "s"),
    "constrained_topk": ("#009E73", "^"),
    "engine_latency": ("#CC79A7", "D"),
    "engine_batch": ("#000000", "v"),
    "device_search": ("#000000", "v"),
    "beam_self_attention": ("#E69F00", "P"),
    "cross_attention_beams": ("#56B4E9", "X"),
    "linear_norm": ("#CC79A7", "<"),
    "feed_forward_norm": ("#D55E00", ">"),
}
FAINT = "#8a8a8a"


def plot_roofline(report: Report, file: BinaryIO) -> bool:
    """Draw a panel for the processor and one for the GPU, where they have points.

    ::

        lines: min(rate of a large product, bandwidth x operations per byte), per number of threads
        points: the first of our methods of every case;  filled: one thread, hollow: more

    Narrow weights are left out: the roofs are of float32.
    """
    panels = [
        (title, roof, _points(report, device))
        for title, roof, device in (
            (report["machine"]["processor"], report["roof"], None),
            (str(report["machine"]["gpu"]), report.get("gpu_roof", {}), "cuda"),
        )
    ]
    panels = [panel for panel in panels if panel[1] and panel[2]]
    if not panels:
        return False
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    size = (5.4, 5.6 * len(panels))
    figure, axes = plt.subplots(len(panels), figsize=size, layout="constrained", squeeze=False)
    for place, (title, roof, points) in zip(axes[:, 0], panels, strict=True):
        _panel(place, title, roof, points)
    figure.savefig(file, format="png", dpi=200)
    plt.close(figure)
    return True


def _points(report: Report, device: str | None) -> list[Row]:
    """Return the first of our rows of every case and thread count that has an intensity."""
    found: dict[str, Row] = {}
    for row in report["rows"]:
        if row["ours"] and row.get("flops") and row.get("device") == device:
            found.setdefault(f"{row['bench']} {row['case']} {row['threads']}", row)
    return list(found.values())


def _panel(axes: Any, title: str, roof: dict[str, float], points: list[Row]) -> None:  # noqa: ANN401
    x = np.array([row["flops"] / row["bytes"] for row in points])
    y = np.array([row["flops"] / row["median_s"] / 1e9 for row in points])
    span = np.geomspace(min(x.min() / 3, 0.1), x.max() * 4, 200)
    top = 0.0
    for threads in sorted({row["threads"] for row in points}):
        peak, bandwidth = roof[f"gemm_gflops_{threads}t"], roof[f"copy_gbs_{threads}t"]
        top = max(top, peak)
        word, line = ("1 thread", "-") if threads == 1 else (f"{threads} threads, hollow", "--")
        label = f"{word}: {peak:,.0f} GFLOP/s, {bandwidth:,.0f} GB/s"
        rate = np.minimum(peak, bandwidth * span)
        axes.plot(span, rate, line, color=FAINT, lw=1.6, zorder=1, label=label)
    _scatter(axes, points, x, y)
    axes.set(xscale="log", yscale="log", xlim=(span[0], span[-1]), ylim=(y.min() / 3, top * 1.8))
    axes.set_xlabel("operations per byte that must move", fontsize=11)
    axes.set_ylabel("GFLOP/s", fontsize=11)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(which="major", alpha=0.25)
    axes.legend(loc="lower right", fontsize=9, framealpha=0.9, edgecolor="none", handletextpad=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _scatter(axes: Any, points: list[Row], x: Any, y: Any) -> None:  # noqa: ANN401
    for bench in dict.fromkeys(row["bench"] for row in points):
        colour, shape = STYLES.get(bench, ("#555555", "*"))
        for hollow in (False, True):
            chosen = [
                i
                for i, row in enumerate(points)
                if row["bench"] == bench and (row["threads"] > 1) == hollow
            ]
            axes.scatter(
                x[chosen],
                y[chosen],
                s=42,
                marker=shape,
                facecolors="none" if hollow else colour,
                edgecolors=colour,
                linewidths=1.2,
                alpha=0.85,
                zorder=3,
                label=None if hollow else BENCHES.get(bench, bench),
            )
