"""The CUDA kernels of a source tree compiled with nvcc and compared to a table, as `aot` does.

::

    python -m mmgrec_engine.kernels.cuda_resources TREE [--targets sm_80,sm_90] [--write]

Unlike Triton's, these kernels are no part of the wheel's Python, so the tree is an argument; their
table lies beside them. Shared memory depends on a launch: rows are for typical shapes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmgrec_engine import _native
from mmgrec_engine.errors import ConfigError, MMGRecError
from mmgrec_engine.kernels.aot_table import (
    Row,
    key,
    read_table,
    resource_row,
    violations,
    write_table,
)
from mmgrec_engine.kernels.occupancy import PROCESSORS, processor
from mmgrec_engine.kernels.resources import Resources, from_cubin

KERNEL = "constrained_topk"
SOURCE = Path("csrc/ops/constrained_topk.cu")
TABLE = Path("csrc/ops/constrained_topk_resources.json")
TARGETS = tuple(name for name, unit in PROCESSORS.items() if unit.backend == "cuda")
SHAPES = ((1, 10), (10, 10), (50, 50), (200, 200), (512, 512))
"""Beams in and out: the first step and later ones."""


def _nvcc(*arguments: str) -> str:
    """Output of nvcc; its complaint when it fails."""
    path = shutil.which("nvcc")
    if path is None:
        raise ConfigError("nvcc is not on the path", remedy="install the CUDA toolkit")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MMGRecError("nvcc failed", value=(done.stderr or done.stdout).strip()[-400:])
    return done.stdout


def nvcc_version() -> str:
    """Version of nvcc, as "13.0.88"."""
    found = re.search(r"V(\d+\.\d+\.\d+)", _nvcc("--version"))
    return found.group(1) if found else "unknown"


def compile_source(tree: Path, target: str) -> Resources:
    """Compile the kernel for one target and read what a thread takes.

    Raises
    ------
    ConfigError
        No nvcc, no such source, or a target that nvcc does not compile for.
    """
    if processor(target).backend != "cuda":
        raise ConfigError("nvcc has no such target", value=target, allowed=", ".join(TARGETS))
    if not (tree / SOURCE).is_file():
        raise ConfigError("no CUDA sources here", value=tree, allowed="a source tree with csrc/")
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        options = ["-cubin", f"-arch={target}", "-std=c++20", "-O3", f"-I{tree / 'csrc'}"]
        _nvcc(*options, "-o", str(cubin), str(tree / SOURCE))
        return from_cubin(cubin.read_bytes())


def rows_of(target: str, took: Resources) -> list[Row]:
    """Say what every shape of a block takes on a target."""
    rows = []
    for beams, keep in SHAPES:
        warps, shared = _native.constrained_topk_block(beams, keep)
        about = {
            "kernel": KERNEL,
            "config": {"beams": beams, "keep": keep},
            "target": target,
            "warps": warps,
            "matrix_units": False,
        }
        rows.append(resource_row(about, took, shared))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cuda_resources", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("tree", type=Path, help="source tree")
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma-separated")
    parser.add_argument("--json", action="store_true", help="print the rows on standard output")
    parser.add_argument("--write", action="store_true", help="write the table instead of comparing")
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Compile, then write the table or compare with it; 1 when something got worse."""
    options = _parser().parse_args(arguments)
    targets = options.targets.split(",")
    compiler = {"nvcc": nvcc_version()}
    rows = [
        row for target in targets for row in rows_of(target, compile_source(options.tree, target))
    ]
    rows.sort(key=key)
    if options.json:
        print(json.dumps({"kernels": rows}))
    if options.write:
        write_table(options.tree / TABLE, rows, compiler)
        return 0
    wrong, note = violations(rows, read_table(options.tree / TABLE), targets, compiler=compiler)
    for line in (*([note] if note else []), *wrong):
        print(line, file=sys.stderr)
    print(f"{len(rows)} rows, {len(wrong)} wrong", file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    """Turn errors of this package into a message and exit code 2."""
    try:
        return run()
    except MMGRecError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
