"""What kernels take on the GPU that is here: beside the predictions, and as traces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgrec.profiling.device_timing import captured
from mmgrec.profiling.kernel_devices import known_device
from mmgrec.profiling.kernel_launch import arguments_of, function_of, launches_of, make_launch
from mmgrec_engine.kernels.ranges import op_range, ranges
from mmgrec_engine.ops.backends import availability

Row = dict[str, Any]
Tell = Callable[[str], None]

REPLAYS = 5
"""Of a graph of 20 calls, so that launches by the host do not count."""


def gpu_target() -> str | None:
    """Name what the GPU here compiles for, as "sm_90"; None where there is no NVIDIA GPU."""
    if not torch.cuda.is_available() or torch.version.hip is not None:
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def measure_kernels(report: dict[str, Any], out: Path | None, tell: Tell) -> None:
    """Add measured times to the report of the target that the GPU here has.

    ::

        for every kernel and example:
            capture 20 calls in a graph;  replay it under torch.profiler
            measured = median of what the kernel itself took, by name
            share    = predicted for this GPU / measured
        out/torch_trace.json for https://ui.perfetto.dev; Proton runs in a process of its own

    Parameters
    ----------
    report : dict
        From `mmgrec.profiling.kernel_profile.profile_kernels`; rows get "measured_s", and
        "roof_share" where the GPU's datasheet is known. A kernel that fails is a note.
    out : Path, optional
        Folder for the traces.
    tell : callable
        Gets a line about what is being done.
    """
    name = torch.cuda.get_device_name()
    report["gpu"] = name
    device = known_device(name)
    if device is None:
        report["notes"].append(f"the roofs of {name} are not in the table: nothing is predicted")
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with ranges(), torch.profiler.profile(activities=activities) as profiler:
        for row in _runnable(report):
            tell(f"measuring {row['kernel']} {row['config']}")
            try:
                _replay(row)
            except Exception as error:  # one kernel's failure must not cost the others' figures
                report["notes"].append(f"{row['kernel']} {row['config']}: not measured: {error}")
            torch.cuda.empty_cache()
    _add_measured(report["kernels"], list(profiler.events() or ()), device)
    if out is not None:
        profiler.export_chrome_trace(str(out / "torch_trace.json"))
        tell("tracing with Proton")
        _proton(report, out)


def _runnable(report: dict[str, Any]) -> list[Row]:
    """Rows whose kernel can be launched here; a note says which cannot."""
    cuda = next(a for a in availability("constrained_topk", "cuda") if a.backend == "cuda")
    if cuda.available:
        return list(report["kernels"])
    report["notes"].append(f"constrained_topk is not measured: {cuda.reason}")
    return [row for row in report["kernels"] if row["kernel"] != "constrained_topk"]


def title(row: Row) -> str:
    """Name a row's launches in a trace."""
    words = (f"{k}={v}" for k, v in arguments_of(row["config"], row["example"]).items())
    return f"{row['kernel']} {' '.join(words)}"


def _replay(row: Row) -> None:
    launch = make_launch(row["kernel"], arguments_of(row["config"], row["example"]))
    replay = captured(launch)
    torch.cuda.synchronize()
    with torch.profiler.record_function(title(row)), op_range(title(row)):
        for _ in range(REPLAYS):
            replay()
        torch.cuda.synchronize()


def _on_gpu(event: Any) -> bool:  # noqa: ANN401 - torch's events have no public type
    return bool(event.device_type.name == "CUDA")


def _add_measured(rows: Sequence[Row], events: list[Any], device: str | None) -> None:
    """Find each row's kernels among the events: those that ran within the row's range."""
    titles = {title(row) for row in rows}
    spans = {e.name: e.time_range for e in events if e.name in titles and not _on_gpu(e)}
    # A range shows on the GPU's track too, under its own name.
    ran = [e for e in events if e.name not in titles and _on_gpu(e)]
    for row in rows:
        span = spans.get(title(row))
        if span is None:
            continue
        function, (each, place) = function_of(row["kernel"]), launches_of(row["kernel"])
        inside = sorted(
            (e.time_range.start, e.time_range.end - e.time_range.start)
            for e in ran
            if function in e.name and span.start <= e.time_range.start <= span.end
        )
        took = [microseconds for _, microseconds in inside[place::each]]
        if not took:
            continue
        row["measured_s"] = float(np.median(took)) * 1e-6
        if device is not None:
            row["measured_on"] = device
            row["roof_share"] = row["predicted"][device]["seconds"] / row["measured_s"]


def _proton(report: dict[str, Any], out: Path) -> None:
    """Run Proton by itself: it and torch.profiler both want to be the one who listens to CUDA."""
    cases = [
        {"title": title(row), "kernel": row["kernel"]}
        | {"arguments": arguments_of(row["config"], row["example"])}
        | {"flops": row["flops"], "bytes": row["bytes"]}
        for row in report["kernels"]
        if "measured_s" in row
    ]
    # -P: what lies in the folder that somebody works in is not what is to be measured.
    command = [sys.executable, "-P", "-m", "mmgrec.profiling.kernel_proton", str(out)]
    done = subprocess.run(
        command, input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        report["notes"].append(f"no Proton trace: {done.stderr.strip()[-400:]}")
