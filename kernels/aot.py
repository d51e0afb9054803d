"""Proof without a GPU: every kernel configuration compiled ahead of time and compared to a table.

::

    rows  = compile_report(["sm_80", "sm_90"])       registers, spills, matrix units, occupancy
    wrong = violations(rows, read_table(TABLE))      empty when nothing got worse
    python -m mmgrec_engine.kernels.aot [--targets sm_80,sm_90] [--check [FILE] | --write FILE]

A kernel module takes part by a function ``compilations(target) -> list[Compilation]`` that uses the
same setups as its launches. In a signature ``i32:16`` is an integer divisible by 16; pointers are
taken as 16-byte aligned, as every allocation of torch is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmgrec_engine.errors import ConfigError, MMGRecError
from mmgrec_engine.kernels.aot_table import (
    TABLE,
    Row,
    key,
    read_table,
    resource_row,
    violations,
    write_table,
)
from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.occupancy import PROCESSORS, processor
from mmgrec_engine.kernels.resources import from_amdgcn, from_cubin

MODULES = (
    "rq_assign",
    "relation_attention",
    "cross_attention_beams",
    "beam_self_attention",
    "linear_norm",
    "feed_forward_norm",
)
Progress = Callable[[int, int, Row], None]


def _compilations(module: str, target: str) -> list[Compilation]:
    """Import a kernel module and ask it."""
    kernels = importlib.import_module(f"mmgrec_engine.kernels.{module}")
    found: list[Compilation] = kernels.compilations(target)
    return found


def kernel_names(target: str) -> list[str]:
    """Names of all kernels that are compiled for a target, in the modules' order."""
    return list(dict.fromkeys(c.name for module in MODULES for c in _compilations(module, target)))


def source_of(compilation: Compilation) -> ASTSource:
    """Translate a description into what Triton compiles: argument types, constants, alignment."""
    names = compilation.kernel.arg_names
    missing = set(names) ^ {*compilation.signature, *compilation.constexprs}
    if missing:
        raise ConfigError(
            f"compilation of {compilation.name}: arguments do not match the kernel's",
            value=", ".join(sorted(missing)),
            allowed=", ".join(names),
        )
    signature, aligned = {}, {}
    for place, name in enumerate(names):
        kind, _, divisor = compilation.signature.get(name, "constexpr").partition(":")
        signature[name] = kind
        if divisor or kind.startswith("*"):
            aligned[(place,)] = [["tt.divisibility", int(divisor or 16)]]
    return ASTSource(compilation.kernel, signature, dict(compilation.constexprs), aligned)


def compile_row(compilation: Compilation, target: str) -> Row:
    """Compile one configuration for one target and read what it takes."""
    unit = processor(target)
    about: Row = {
        "kernel": compilation.name,
        "config": dict(compilation.config),
        "target": target,
        "warps": compilation.num_warps,
        "matrix_units": compilation.matrix_units,
    }
    options = {"num_warps": compilation.num_warps, "num_stages": compilation.num_stages}
    gpu = GPUTarget(unit.backend, unit.architecture, unit.lanes)
    source = source_of(compilation)
    try:
        compiled = triton.compile(source, target=gpu, options=options)
    except Exception as error:  # whatever the compiler cannot do is a row of the report
        return {**about, "unsupported": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    nvidia = unit.backend == "cuda"
    took = from_cubin(compiled.asm["cubin"]) if nvidia else from_amdgcn(compiled.asm["amdgcn"])
    row = resource_row(about, took, compiled.metadata.shared)
    return row | {"products": compilation.products}


def _compile_task(module: str, target: str, index: int) -> Row:
    """Compile in a worker: kernels do not travel between processes, their place in a list does."""
    return compile_row(_compilations(module, target)[index], target)


def _tasks(targets: Sequence[str], names: Sequence[str] | None) -> list[tuple[str, str, int]]:
    """Everything to compile, as (module, target, index)."""
    tasks, known = [], set()
    for module in MODULES:
        for target in targets:
            processor(target)
            for index, compilation in enumerate(_compilations(module, target)):
                known.add(compilation.name)
                if names is None or compilation.name in names:
                    tasks.append((module, target, index))
    unknown = set(names or ()) - known
    if unknown:
        raise ConfigError(
            "unknown kernel", value=", ".join(sorted(unknown)), allowed=", ".join(sorted(known))
        )
    return tasks


def compile_report(
    targets: Sequence[str],
    names: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> list[Row]:
    """Compile every configuration of every kernel, and say what it takes.

    ::

        for every target, kernel, configuration, ``jobs`` at a time:
            compile;  read the machine code;  predict the occupancy

    Parameters
    ----------
    targets : sequence of str
        Of "sm_80", "sm_90", "sm_100", "gfx942".
    names : sequence of str, optional
        Kernels, by the names they have in the report; all by default.
    jobs : int
        Processes.
    progress : callable, optional
        Called with the number done, the number in all, and the row.

    Returns
    -------
    list of dict
        Rows in a fixed order; ``"unsupported"`` says why the compiler cannot do one.

    Raises
    ------
    ConfigError
        Unknown target or kernel, or ``TRITON_INTERPRET`` is set: nothing would be compiled.
    """
    if triton.knobs.runtime.interpret:
        raise ConfigError(
            "kernels cannot be compiled while TRITON_INTERPRET is set",
            remedy="unset TRITON_INTERPRET",
        )
    tasks = _tasks(targets, names)
    rows: list[Row] = []
    # Spawned: a forked child would share the parent's LLVM and thread state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for task in as_completed([pool.submit(_compile_task, *task) for task in tasks]):
            rows.append(task.result())
            if progress is not None:
                progress(len(rows), len(tasks), rows[-1])
    return sorted(rows, key=key)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aot", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(PROCESSORS), help="comma-separated")
    parser.add_argument("--kernels", default=None, help="comma-separated; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", action="store_true", help="print the rows on standard output")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="write the table")
    action.add_argument("--check", type=Path, metavar="FILE", default=TABLE, help="compare")
    return parser


def _tell(done: int, total: int, row: Row) -> None:
    """Progress on standard error: standard output is for the result."""
    config = " ".join(f"{name}={value}" for name, value in row["config"].items())
    print(f"[{done}/{total}] {row['target']} {row['kernel']} {config}", file=sys.stderr)


def run(arguments: Sequence[str] | None = None) -> int:
    """Compile, then write the table or compare with it; 1 when something got worse."""
    options = _parser().parse_args(arguments)
    targets = options.targets.split(",")
    names = options.kernels.split(",") if options.kernels else None
    rows = compile_report(targets, names, options.jobs, _tell)
    if options.json:
        print(json.dumps({"kernels": rows}))
    if options.write is not None:
        write_table(options.write, rows)
        return 0
    wrong, note = violations(rows, read_table(options.check), targets, names)
    for line in (*([note] if note else []), *wrong):
        print(line, file=sys.stderr)
    print(f"{len(rows)} compiled, {len(wrong)} wrong", file=sys.stderr)
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
