"""Traces by Triton's profiler Proton, in a process of its own.

::

    python -m mmgrec.profiling.kernel_proton OUT < cases.json
    OUT/proton.hatchet         times by case and kernel: proton-viewer -m time/us OUT/proton.hatchet
    OUT/proton.chrome_trace    the same on a time line, for https://ui.perfetto.dev
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from mmgrec.profiling.kernel_launch import CALLS, Launch, make_launch

TREE, TRACE = "tree", "trace"


def trace_cases(cases: list[dict[str, Any]], out: Path) -> None:
    """Launch every case under Proton, once for the tree and once for the time line."""
    import triton.profiler as proton

    # Warm: compiling and drawing inputs belong in neither.
    launches = [_warmed(case) for case in cases]
    for data in (TREE, TRACE):
        session = proton.start(str(out / "proton"), data=data, hook="triton")
        for case, launch in zip(cases, launches, strict=True):
            with proton.scope(case["title"]):
                for _ in range(CALLS):
                    launch()
        torch.cuda.synchronize()
        proton.finalize(session)


def _warmed(case: dict[str, Any]) -> Launch:
    launch = make_launch(case["kernel"], case["arguments"])
    launch()
    return launch


if __name__ == "__main__":
    trace_cases(json.load(sys.stdin), Path(sys.argv[1]))
