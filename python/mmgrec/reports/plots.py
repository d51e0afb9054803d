"""Plots of a report as SVG whose colours are the page's, so that they fit light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

COLOURS = {
    "ink": "#000101",
    "grid": "#000102",
    "mmgrec": "#000103",
    "itemknn": "#000104",
    "popular": "#000105",
    "training": "#000106",
    "third": "#000107",
}
"""What stands in the SVG until it is replaced by the page's variable of the same name."""
LABELS = {
    "mmgrec": "mmgrec",
    "exact": "mmgrec, exact search",
    "itemknn": "ItemKNN",
    "popular": "most popular",
    "training": "training interactions",
    "dense": "graph encoder alone",
}
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of modalities are no formulas
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["grid"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2.0,
}
SIZE = (5.2, 3.2)
"""Inches: readable at a phone's width, and at twice that."""
GROUP_SIZES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))

Draw = Callable[[Axes], None]


def draw(name: str, what: str, paint: Draw, size: tuple[float, float] = SIZE) -> str:
    """Return a plot as inline SVG; ``name`` keeps its inner ids apart from other plots'."""
    stream = io.StringIO()
    with plt.rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        paint(axes)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return _for_the_page(stream.getvalue(), what)


def _for_the_page(svg: str, what: str) -> str:
    """Leave the drawing: no XML head, fixed size, colours or ids that plots have in common."""
    svg = svg[svg.index("<svg") :]
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', svg, count=1)
    title = f"<title>{escape(what)}</title>"
    svg = re.sub(r"<metadata>.*?</metadata>", lambda _: title, svg, count=1, flags=re.DOTALL)
    return re.sub(r' id="[A-Za-z0-9]+_[0-9]+"', "", svg)


def training_plot(stage: Mapping[str, Any]) -> str:
    """Draw loss, and validation score on the right axis with its best epoch."""

    def paint(axes: Axes) -> None:
        axes.plot(*zip(*stage["loss"], strict=True), color=COLOURS["itemknn"], label="loss")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        lines = axes.get_lines()
        if stage["validation"]:
            epochs, scores = zip(*stage["validation"], strict=True)
            right = axes.twinx()
            right.grid(visible=False)
            right.set_ylabel("validation score")
            lines += right.plot(epochs, scores, color=COLOURS["mmgrec"], label="validation score")
            best = max(range(len(scores)), key=scores.__getitem__)
            right.plot(epochs[best], scores[best], "o", color=COLOURS["mmgrec"])
        _legend(axes, lines)

    return draw(f"training-{stage['stage']}", f"Training of the stage {stage['stage']}", paint)


def code_usage_plot(levels: Sequence[Mapping[str, Any]]) -> str:
    """Draw items per code, most used code first, a line per level."""

    def paint(axes: Axes) -> None:
        names = ("mmgrec", "itemknn", "third", "popular", "training")
        for level, name in zip(levels, [*names, *["training"] * len(levels)], strict=False):
            counts = level["items_per_code"]
            label = f"level {level['level'] + 1}"
            axes.plot(range(1, len(counts) + 1), counts, color=COLOURS[name], label=label)
        axes.set(xlabel="code, most used first", ylabel="items", ylim=(0, None))
        _legend(axes)

    return draw("codes", "Items per code and level", paint)


def collision_plot(groups: Mapping[str, int]) -> str:
    """Draw the share of the items by the size of their group of equal codes."""
    sizes = {int(size): count for size, count in groups.items()}
    total = sum(size * count for size, count in sizes.items())

    def paint(axes: Axes) -> None:
        labels, shares = [], []
        for low, high in GROUP_SIZES:
            upper = max(sizes) if high is None else high
            inside = sum(s * n for s, n in sizes.items() if low <= s <= upper)
            if low <= max(sizes):
                labels.append(span(low, high))
                shares.append(100 * inside / total)
        bars = axes.bar(labels, shares, color=COLOURS["mmgrec"])
        axes.bar_label(bars, fmt="%.0f %%", padding=2, fontsize=9)
        axes.set(xlabel="items with the same codes", ylabel="% of the items")
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.12)

    return draw("collisions", "Sizes of collision groups", paint)


def curve_plot(
    name: str, curves: Mapping[str, Sequence[float]], ylabel: str, *, percent: bool = False
) -> str:
    """Draw a line per method over the length K of the list."""

    def paint(axes: Axes) -> None:
        for method, values in curves.items():
            exact = method == "exact"
            axes.plot(
                range(1, len(values) + 1),
                [100 * v if percent else v for v in values],
                color=COLOURS["ink" if exact else method],
                linestyle=":" if exact else "-",
                label=LABELS[method],
                zorder=3 if method in ("mmgrec", "exact") else 2,
            )
        axes.set(xlabel="K, length of the list", ylabel=ylabel, ylim=(0, None))
        axes.set_xlim(1, len(next(iter(curves.values()))))
        _legend(axes)

    return draw(name, ylabel, paint)


def by_count_plot(buckets: Sequence[Mapping[str, Any]]) -> str:
    """Draw bars per bucket of training counts and method."""

    def paint(axes: Axes) -> None:
        methods = list(buckets[0]["recall@20"])
        width = 0.8 / len(methods)
        for i, method in enumerate(methods):
            places = [x - 0.4 + (i + 0.5) * width for x in range(len(buckets))]
            values = [bucket["recall@20"][method] for bucket in buckets]
            axes.bar(places, values, width, color=COLOURS[method], label=LABELS[method])
        axes.set_xticks(range(len(buckets)), [span(b["from"], b["to"]) for b in buckets])
        axes.set(xlabel="training interactions of the item", ylabel="Recall@20")
        axes.grid(visible=False, axis="x")
        _legend(axes)

    return draw("by-count", "Recall by training interactions of the item", paint)


def popularity_plot(share: Mapping[str, Sequence[float]]) -> str:
    """Draw the share of recommendations and of training interactions per popularity group."""

    def paint(axes: Axes) -> None:
        for method, values in share.items():
            style = "o--" if method == "training" else "o-"
            places = range(1, len(values) + 1)
            percent = [100 * value for value in values]
            axes.plot(places, percent, style, ms=4, color=COLOURS[method], label=LABELS[method])
        axes.set(xlabel="tenth of the items, most popular first", ylabel="% of recommendations")
        axes.set_xticks(range(1, len(next(iter(share.values()))) + 1))
        _legend(axes)

    return draw("popularity", "Share of recommendations by popularity", paint)


def modality_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw horizontal bars: Recall@20 with all modalities and without some."""

    def paint(axes: Axes) -> None:
        for i, (method, colour) in enumerate((("mmgrec", "mmgrec"), ("dense", "training"))):
            places = [y - 0.2 + 0.4 * i for y in range(len(rows))]
            values = [row["recall@20"][method] for row in rows]
            bars = axes.barh(places, values, 0.38, color=COLOURS[colour], label=LABELS[method])
            axes.bar_label(bars, fmt="%.4f", padding=3, fontsize=9)
        axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("Recall@20")
        axes.grid(visible=False, axis="y")
        _legend(axes)

    return draw("modalities", "Recall without modalities", paint, (5.2, 1.4 + 0.55 * len(rows)))


def _legend(axes: Axes, lines: Sequence[Any] | None = None) -> None:
    handles = lines if lines is not None else axes.get_legend_handles_labels()[0]
    columns = 2 if len(handles) > 3 else max(len(handles), 1)
    axes.legend(
        handles=list(handles),
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
    )


def span(low: int, high: int | None) -> str:
    """Spell a range: 0, 1-4, 100+."""
    if high is None:
        return f"{low}+"
    return str(low) if low == high else f"{low}-{high}"
