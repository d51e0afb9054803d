"""The retrieval plot: time of one request against the size of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STYLES = {
    "native_beam_10": ("mmgrec, beam 10 (model included)", "#c0392b", "o-"),
    "native_beam_50": ("mmgrec, beam 50 (model included)", "#e67e22", "o-"),
    "faiss_flat": ("faiss flat, exact", "#2c3e50", "s--"),
    "torch_topk": ("torch matmul + topk, exact", "#7f8c8d", "^--"),
    "faiss_hnsw_64": ("faiss HNSW, efSearch 64", "#2980b9", "d--"),
    "faiss_hnsw_512": ("faiss HNSW, efSearch 512", "#8e44ad", "d--"),
}
"""Backend to its label, colour and line."""


def plot_growth(report: dict[str, Any], path: Path) -> None:
    """Draw milliseconds over items, both logarithmic, one line per method."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for row in report["rows"] if row["bench"] == "retrieval_growth"]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
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
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
