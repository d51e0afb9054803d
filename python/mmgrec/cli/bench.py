"""`mmgrec bench`: our kernels beside the strongest alternatives, in one run."""

from __future__ import annotations

import typer

from mmgrec.cli.output import HUMAN, print_json, print_table
from mmgrec.cli.runs import JsonOption

bench_app = typer.Typer(
    help="Measure speed as ratios to the strongest alternatives in the same run.",
    no_args_is_help=True,
)


@bench_app.command()
def ops(json: JsonOption = False) -> None:
    """Time every op beside its baselines, with one and two threads (two to three minutes).

    A row's ratio is the strongest baseline's median time over its own; its share of the roof is the
    least time that the measured arithmetic rate and memory bandwidth allow over its own.
    """
    from mmgrec.profiling.bench_report import bench_ops, bench_tables, describe_machine

    with HUMAN.status("") as status:
        report = bench_ops(status.update)
    if json:
        print_json(report)
        return
    print_table(describe_machine(report))
    for table in bench_tables(report):
        print_table(table)
