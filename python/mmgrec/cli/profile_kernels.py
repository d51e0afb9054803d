"""`mmgrec profile --kernels`: its report on the terminal and in files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from mmgrec.cli.output import HUMAN, print_json


def profile_kernels(target: str | None, names: list[str], out: Path | None, json: bool) -> None:
    """Compile and predict; measure where there is a GPU; print and write."""
    from mmgrec.profiling import kernel_profile
    from mmgrec_engine.artifact import ensure_folder

    kernel_profile.require_triton()
    from mmgrec.profiling.kernel_measure import gpu_target, measure_kernels

    if out is not None:
        ensure_folder(out)
    here = gpu_target()
    if target is None:
        target = here if here in kernel_profile.TARGETS else "sm_90"
    with HUMAN.status("") as status:
        report = kernel_profile.profile_kernels(target, names, Path.cwd(), status.update)
        if here == target:
            measure_kernels(report, out, status.update)
    if here is not None and here != target:
        report["notes"].append(f"nothing is measured: the GPU here is {here}")
    _write(report, out)
    if json:
        print_json(report)
    else:
        _print(report)


def _write(report: dict[str, Any], out: Path | None) -> None:
    from mmgrec.profiling.kernel_plot import plot_rooflines
    from mmgrec_engine.artifact import write_file
    from mmgrec_engine.writers import write_json

    if out is None:
        return
    write_file(out / "kernels.json", write_json(report))
    write_file(out / "roofline.png", partial(plot_rooflines, report))
    HUMAN.print(f"Written: {out}/kernels.json, roofline.png")


def _print(report: dict[str, Any]) -> None:
    from mmgrec.profiling.kernel_tables import WIDTH, kernel_tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for table in kernel_tables(report):
        console.print(table, "")
    console.print(f"[bold]Times are a {report['prediction']}.", highlight=False)
    console.print("To look at one on a GPU with Nsight Compute, for example:", highlight=False)
    # One line each, whatever the terminal's width: they are for pasting.
    for line in {row["kernel"]: row["ncu"] for row in report["kernels"]}.values():
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    for note in report["notes"]:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
