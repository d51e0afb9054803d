"""`mmgrec profile --kernels`: what every compiled kernel takes and could reach, without a GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmgrec.profiling.kernel_devices import DEVICES, predict
from mmgrec_engine.errors import BackendError, ConfigError, MMGRecError

Row = dict[str, Any]
Tell = Callable[[str], None]

TARGETS = tuple(dict.fromkeys(device.target for device in DEVICES.values()))
CUDA_KERNEL = "constrained_topk"

PREDICTION = (
    "prediction, nothing was run: the larger of operations / rate and bytes / bandwidth by the "
    "datasheets of A100 SXM 80 GB, H100 SXM, H200 and B200; a kernel is slower, never faster, "
    "unless its inputs lie in the cache"
)


def profile_kernels(target: str, names: Sequence[str], tree: Path, tell: Tell) -> dict[str, Any]:
    """Compile kernels for a target, read their machine code, and predict their times.

    ::

        for every kernel and configuration that a launch can choose:
            compile;  registers, spills, shared memory, what limits occupancy, instruction mix
            work of an example shape;  time on A100, H100, H200, B200 by their datasheets

    Parameters
    ----------
    target : str
        Of `TARGETS`.
    names : sequence of str
        Kernels, or what their names begin with ("relation_attention"); all if empty.
    tree : Path
        Source tree with the CUDA kernel, which is no part of the wheel. Without one, or without
        nvcc, a note says so.
    tell : callable
        Gets a line about what is being done.

    Returns
    -------
    dict
        ``target``, ``compiler``, ``kernels`` (rows), ``devices``, ``prediction`` and ``notes``.

    Raises
    ------
    BackendError
        Triton is not installed.
    ConfigError
        Unknown target or kernel; ``TRITON_INTERPRET`` is set.
    """
    if target not in TARGETS:
        raise ConfigError("unknown target", value=target, allowed=", ".join(TARGETS))
    require_triton()
    from mmgrec_engine.kernels import aot_table

    chosen = _choose(target, names)
    rows = _triton_rows(target, [name for name in chosen if name != CUDA_KERNEL], tell)
    notes: list[str] = []
    compiler = aot_table.compiler_versions()
    if CUDA_KERNEL in chosen:
        rows += _cuda_rows(target, tree, tell, notes, compiler)
    notes += [
        f"{row['kernel']} {row['config']}: {row['unsupported']}"
        for row in rows
        if "unsupported" in row
    ]
    return {
        "target": target,
        "compiler": compiler,
        "prediction": PREDICTION,
        "devices": {
            name: {"bytes_per_s": d.bytes_per_s, **d.flops_per_s, "source": d.source}
            for name, d in DEVICES.items()
        },
        "kernels": [predicted_row(row) for row in rows if "unsupported" not in row],
        "notes": notes,
    }


def require_triton() -> None:
    """Raise where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        raise BackendError(
            "profile --kernels needs Triton, which compiles and disassembles without a GPU",
            remedy="pip install 'mmgrec-engine[gpu]'",
        )


def predicted_row(row: Row) -> Row:
    """Add an example, its work and its predicted times to a row of the resource report."""
    from mmgrec.profiling.kernel_launch import ncu_command
    from mmgrec.profiling.kernel_work import example_of, unit_of

    example, unit = example_of(row["kernel"], row["config"]), unit_of(row)
    work, products = example.work, row.get("products", 1) if row["mma"] else 1
    return row | {
        "example": example.shape,
        "flops": work.flops,
        "bytes": work.bytes,
        "intensity": work.intensity,
        "unit": unit,
        "products": products,
        "predicted": {
            name: predict(work.flops, work.bytes, unit, products, device)
            for name, device in DEVICES.items()
        },
        "ncu": ncu_command(row["kernel"], row["config"], example.shape),
    }


def _choose(target: str, names: Sequence[str]) -> list[str]:
    """Kernels whose names begin with one of these."""
    from mmgrec_engine.kernels.aot import kernel_names

    known = [*kernel_names(target), CUDA_KERNEL]
    unknown = [name for name in names if not any(kernel.startswith(name) for kernel in known)]
    if unknown:
        raise ConfigError("unknown kernel", value=", ".join(unknown), allowed=", ".join(known))
    return [kernel for kernel in known if not names or kernel.startswith(tuple(names))]


def _triton_rows(target: str, names: list[str], tell: Tell) -> list[Row]:
    from mmgrec_engine.kernels.aot import compile_report

    if not names:
        return []

    def progress(done: int, total: int, row: Row) -> None:
        tell(f"compiled {done} of {total}: {row['kernel']}")

    tell("compiling")
    return compile_report([target], names, len(os.sched_getaffinity(0)), progress)


def _cuda_rows(
    target: str, tree: Path, tell: Tell, notes: list[str], compiler: dict[str, str]
) -> list[Row]:
    """Rows of the CUDA kernel and the compiler's version, or a note on why there are none."""
    from mmgrec_engine.kernels.cuda_resources import compile_source, nvcc_version, rows_of

    tell(f"compiling {CUDA_KERNEL} with nvcc")
    try:
        rows = rows_of(target, compile_source(tree, target))
        compiler["nvcc"] = nvcc_version()
    except MMGRecError as error:
        told = error.remedy or error.allowed or error.value
        notes.append(f"{CUDA_KERNEL} (CUDA) is missing: {error.what} ({told})")
        return []
    return rows
