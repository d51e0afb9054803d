"""Pictures of a profile: bars for people, a trace for https://ui.perfetto.dev."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLOURS = {"encode": "#2980b9", "decoder memory": "#16a085", "level": "#c0392b"}
OTHER = "#7f8c8d"


def write_trace(report: dict[str, Any], path: Path) -> None:
    """Write the stages as spans of the Trace Event Format, one track per call.

    Spans have their median length and stand one after the other, as they run.
    """
    events: list[dict[str, Any]] = []
    for track, profile in enumerate(report["requests"], 1):
        name = f"{profile['users']} users, {profile['beam_width']} beams"
        events.append(
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name}}
        )
        begin = 0.0
        for row in profile["stages"]:
            length = row["seconds"] * 1e6
            args = {key: row[key] for key in ("flops", "bytes", "roof_share")}
            span = {"ph": "X", "name": row["stage"], "ts": begin, "dur": length}
            events.append(span | {"pid": 1, "tid": track, "args": args})
            begin += length
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}), encoding="utf-8")


def plot_profile(report: dict[str, Any], path: Path) -> None:
    """Draw microseconds per stage, one panel per call, with the rate reached beside the bar."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    calls = report["requests"]
    rows = max(len(profile["stages"]) for profile in calls)
    figure, panels = plt.subplots(
        1,
        len(calls),
        figsize=(7 * len(calls), 0.8 + 0.27 * rows),
        layout="constrained",
        squeeze=False,
    )
    for axes, profile in zip(panels[0], calls, strict=True):
        stages = profile["stages"]
        times = [row["seconds"] * 1e6 for row in stages]
        bars = axes.barh(
            [row["stage"] for row in stages],
            times,
            color=[_colour(row["stage"]) for row in stages],
        )
        axes.bar_label(bars, [_label(row) for row in stages], padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="microseconds", xlim=(0, 1.3 * max(times)))
        title = f"{profile['users']} user(s), {profile['beam_width']} beams"
        axes.set_title(f"{title}: {profile['seconds'] * 1e3:.3g} ms a call", loc="left")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, format="png", dpi=130)
    plt.close(figure)


def _colour(stage: str) -> str:
    return next((colour for word, colour in COLOURS.items() if stage.startswith(word)), OTHER)


def _label(row: dict[str, Any]) -> str:
    if row["flops"] == 0:
        return f"{row['seconds'] * 1e6:,.1f}"
    rate = row["flops"] / max(row["seconds"], 1e-12) / 1e9
    return f"{row['seconds'] * 1e6:,.1f}  ({rate:.0f} GFLOP/s)"
