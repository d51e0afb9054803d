"""The retrieval plot: time of one request against the size of the catalogue."""

from __future__ import annotations

from typing import BinaryIO

from mmgrec.profiling.bench_schema import Report

STYLES = {
    "native_beam_10": ("mmgrec, beam 10 (model included)", "#D55E00", "o-"),
    "native_beam_50": ("mmgrec, beam 50 (model included)", "#E69F00", "o-"),
    "faiss_flat": ("faiss flat, exact", "#000000", "s--"),
    "torch_topk": ("torch matmul + topk, exact", "#8a8a8a", "^--"),
    "faiss_hnsw_64": ("faiss HNSW, efSearch 64", "#56B4E9", "d--"),
    "faiss_hnsw_512": ("faiss HNSW, efSearch 512", "#0072B2", "d--"),
}
"""Backend to its label, colour and line."""


def plot_growth(report: Report, file: BinaryIO) -> bool:
    """Draw milliseconds over items, both logarithmic, one line per method.

    Nothing is drawn, and false returned, where the report has no such rows.
    """
    rows = [row for row in report["rows"] if row["bench"] == "retrieval_growth"]
    if not rows:
        return False
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.4, 5.6), layout="constrained")
    for name, (label, colour, line) in STYLES.items():
        own = sorted((row for row in rows if row["backend"] == name), key=lambda r: r["case"]["N"])
        if not own:
            continue
        recall = [row["recall@10"] for row in own if "recall@10" in row]
        if recall:
            label += f", recall@10 {min(recall):.2f} to {max(recall):.2f}"
        items = [row["case"]["N"] for row in own]
        axes.plot(items, [row["median_s"] * 1e3 for row in own], line, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel="ms per request, one thread")
    axes.set_title("One request, ten items", loc="left")
    axes.grid(which="major", alpha=0.3)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, format="png", dpi=200)
    plt.close(figure)
    return True
