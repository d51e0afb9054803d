"""`mmgrec bench`: our kernels beside the strongest alternatives, in one run."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgrec.cli.output import HUMAN, print_json, print_table
from mmgrec.cli.runs import JsonOption, RunArgument, set_threads

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


@bench_app.command()
def certificates(
    run: RunArgument,
    users: Annotated[int, typer.Option(min=1, help="Test users to take, evenly spread.")] = 512,
    limit: Annotated[int, typer.Option(min=1, help="Prefixes decoded per user at most.")] = 20_000,
    json: JsonOption = False,
) -> None:
    """Report how often beam search is right, how often it can prove it, and what proofs cost.

    For beams of 10, 20 and 50: the share of users whose best 10 the beam itself certifies, the
    share whose best 10 are the true ones, and prefixes and time of an exact search.
    """
    set_threads()
    from mmgrec.data.dataset import Dataset
    from mmgrec.profiling.certificates import bench_certificates, certificates_table
    from mmgrec_engine.engine import Engine

    dataset = Dataset.load(run / "dataset")
    with HUMAN.status("") as status:
        report = bench_certificates(Engine.load(run), dataset, users, limit, status.update)
    if json:
        print_json(report)
    else:
        print_table(certificates_table(report))
