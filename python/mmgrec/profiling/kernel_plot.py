"""A roofline picture: the kernels under the roofs of four GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmgrec.profiling.kernel_devices import DEVICES, UNITS, Device

ROOF = {"fp32": "#7f8c8d", "tf32": "#2980b9", "bf16": "#c0392b"}
MARKERS = "osD^vP*XhpdH"


def plot_rooflines(report: dict[str, Any], path: Path) -> None:
    """Draw one panel per GPU: roofs by datasheet, and where each kernel's intensity puts it.

    A hollow point is a prediction and lies on its roof; a filled one was measured, on the panel of
    the GPU that is here.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        2, 2, figsize=(13, 9.5), layout="constrained", sharex=True, sharey=True
    )
    names = list(dict.fromkeys(row["kernel"] for row in report["kernels"]))
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}
    for axes, (name, device) in zip(panels.flat, DEVICES.items(), strict=True):
        _roofs(axes, name, device)
        for row in report["kernels"]:
            _points(axes, row, name, markers[row["kernel"]])
        axes.set(xscale="log", yscale="log", xlim=(0.1, 2e3), ylim=(1e11, 4e15))
        axes.grid(which="major", alpha=0.25)
    for axes in panels[1]:
        axes.set_xlabel("operations per byte that must move")
    for axes in panels[:, 0]:
        axes.set_ylabel("operations per second")
    figure.suptitle(
        f"Kernels compiled for {report['target']}: prediction from datasheets"
        + (f"; filled: measured on {report['gpu']}" if "gpu" in report else "")
    )
    figure.legend(
        handles=[_key(plt, markers[name], name) for name in names],
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)


def _key(plt: Any, marker: str, label: str) -> Any:  # noqa: ANN401 - matplotlib's
    return plt.Line2D([], [], marker=marker, ls="", mfc="none", color="black", label=label)


def _roofs(axes: Any, name: str, device: Device) -> None:  # noqa: ANN401
    top = max(device.flops_per_s.values())
    slope = np.array([0.1, top / device.bytes_per_s])
    axes.plot(slope, slope * device.bytes_per_s, color="black", lw=1.2, zorder=1)
    roofs = [(unit, device.flops_per_s[unit], "-") for unit in UNITS]
    roofs.append(("tf32", device.flops_per_s["tf32"] / 3, "--"))
    for unit, rate, line in roofs:
        style = {"color": ROOF[unit], "lw": 1.4, "ls": line, "zorder": 1}
        axes.hlines(rate, rate / device.bytes_per_s, 2e3, **style)
        label = f"{unit} {rate / 1e12:,.4g} TFLOP/s" + (", three products" if line == "--" else "")
        axes.text(0.12, rate, label, color=ROOF[unit], fontsize=8, va="center")
    axes.set_title(f"{name}, {device.bytes_per_s / 1e12:.3g} TB/s", loc="left")


def _points(axes: Any, row: dict[str, Any], device: str, marker: str) -> None:  # noqa: ANN401
    style = {"marker": marker, "ms": 6, "ls": "", "color": ROOF[row["unit"]], "zorder": 2}
    found = row["predicted"].get(device)
    if found is not None:
        rate = row["flops"] / found["seconds"]
        axes.plot([row["intensity"]], [rate], mfc="none", alpha=0.8, **style)
    if row.get("measured_on") == device:
        axes.plot([row["intensity"]], [row["flops"] / row["measured_s"]], **style)
