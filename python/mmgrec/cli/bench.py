"""`mmgrec bench`: our kernels beside the strongest alternatives, in one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mmgrec.cli.output import HUMAN, print_json, print_report, print_table
from mmgrec.cli.runs import JsonOption, RunArgument, load_engine, set_threads
from mmgrec_engine.errors import ConfigError

USERS, LIMIT = 512, 20_000
"""Of the report on certificates: test users, and prefixes decoded per user at most."""

bench_app = typer.Typer(
    help="Measure speed as ratios to the strongest alternatives in the same run.",
    invoke_without_command=True,
)


@bench_app.callback()
def bench(
    context: typer.Context,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Hold report B against the earlier report A."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure speed as ratios to the strongest alternatives in the same run.

    With --compare nothing is measured: it names the cases that are slower or faster in the second
    report than noise explains, and exits with 1 where one is slower.
    """
    if compare is None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
        return
    if context.invoked_subcommand is not None:
        raise ConfigError(
            "bench --compare measures nothing",
            value=f"--compare with {context.invoked_subcommand}",
            allowed="mmgrec bench --compare A.json B.json [--json]",
        )
    from mmgrec.profiling.bench_schema import read_report
    from mmgrec.profiling.compare import compare_reports
    from mmgrec.profiling.compare_tables import comparison_json, comparison_table

    found = compare_reports(*map(read_report, compare))
    if json:
        print_json(comparison_json(found))
    else:
        print_table(comparison_table(found))
    if found.slower:
        raise typer.Exit(1)


@bench_app.command("all")
def everything(
    out: Annotated[Path, typer.Option(help="Folder to write the report to.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run to serve; by default a random model.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure ops, trie, engine and serving into one report with plots (a quarter of an hour).

    Writes report.json, report.md, roofline.png, ratios.png and growth.png. A part that fails is
    named, the others stay, and the exit code is 1. Needs 2 GB of memory.
    """
    set_threads()
    from mmgrec.profiling.all_report import bench_all

    served = None if run is None else (run, _histories(run))
    with HUMAN.status("") as status:
        report = bench_all(out, served, status.update)
    if json:
        print_json(report)
    HUMAN.print(f"The report is in {out}", markup=False)
    failed = {name: part["error"] for name, part in report["parts"].items() if "error" in part}
    for name, error in failed.items():
        HUMAN.print(f"failed: {name}: {error}", markup=False)
    if failed:
        raise typer.Exit(1)


@bench_app.command()
def ops(json: JsonOption = False) -> None:
    """Time every op beside its baselines, with one and two threads (two to three minutes).

    A row's ratio is the strongest baseline's median time over its own; its share of the roof is the
    least time that the measured arithmetic rate and memory bandwidth allow over its own.
    """
    from mmgrec.profiling.bench_report import bench_ops, bench_tables

    with HUMAN.status("") as status:
        report = bench_ops(status.update)
    print_report(report, bench_tables, json)


@bench_app.command()
def trie(
    largest: Annotated[
        int, typer.Option(min=1, max=2**32 - 1, help="Items of the largest trie to build.")
    ] = 10**8,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run whose beams' certified share to add.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time the catalogue's index: building, memory, search steps, filters and edits.

    Steps and whole searches run beside a plain torch search over a CSR trie. Up to 10^8 items it
    takes some ten minutes, 3 GB of memory and 300 MB in the folder for temporary files.
    """
    set_threads()
    from mmgrec.profiling.bench_schema import complete_row
    from mmgrec.profiling.trie_report import bench_trie
    from mmgrec.profiling.trie_tables import trie_tables

    with HUMAN.status("") as status:
        shares = _certificates(run, USERS, LIMIT, status.update)["rows"] if run else []
        report = bench_trie(largest, status.update)
        report["rows"] += map(complete_row, shares)
    print_report(report, trie_tables, json)


@bench_app.command()
def engine(
    largest: Annotated[
        int, typer.Option(min=10**4, max=10**8, help="Items of the largest catalogue.")
    ] = 10**7,
    plot: Annotated[
        Path | None, typer.Option(help="PNG to draw: time against the size of the catalogue.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time whole requests beside batched torch and Hugging Face, and against catalogue size.

    One user and 64 users, beams of 10, 20 and 50, on catalogues of 10^4, 10^5, ... items; and the
    time to find ten items beside faiss and torch. Some ten minutes and 9 GB up to 10^7 items.
    """
    set_threads()
    from mmgrec.profiling.engine_report import bench_engine, engine_tables
    from mmgrec.profiling.growth_plot import plot_growth
    from mmgrec.profiling.report_files import write_picture
    from mmgrec_engine.artifact import ensure_folder

    if plot is not None:
        ensure_folder(plot.parent)  # rather now than after ten minutes
    with HUMAN.status("") as status:
        report = bench_engine(largest, status.update)
    print_report(report, engine_tables, json)
    if plot is not None:
        write_picture(report, plot_growth, plot)


@bench_app.command()
def soak(
    run: RunArgument,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 1800,
    edits: Annotated[bool, typer.Option(help="Replace items meanwhile (in a copy).")] = True,
    json: JsonOption = False,
) -> None:
    """Load an engine fully, one thread per processor, and watch its memory.

    Requests of one and of eight users, with and without a named filter, while items of a copy of
    the run are replaced. Growth: the most resident memory after the first third, over that then.
    """
    from mmgrec.profiling.soak import copy_of, soak, soak_table
    from mmgrec_engine.engine import Engine

    histories = _histories(run)
    with HUMAN.status("") as status, copy_of(run) as copy:
        engine = Engine.load(copy, threads=1)
        report = soak(engine, histories, seconds, edits=edits, tell=status.update)
        engine.close()
    if json:
        print_json(report)
    else:
        print_table(soak_table(report))


@bench_app.command()
def score(
    run: RunArgument,
    users: Annotated[int, typer.Option(min=1, help="Synthetic users.")] = 10**6,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    threads: Annotated[int | None, typer.Option(min=1, help="One per processor.")] = None,
    kills: Annotated[
        int, typer.Option(min=0, help="Instead: kill the job so often, compare its files.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Time a batch job on synthetic users beside the engine called on prepared batches.

    Histories have the lengths of the run's data. Some four minutes for a million users and 50 beams
    on two cores. With --kills the job is killed (-9) at random moments and started again; exit code
    1 where its files are not those of an undisturbed job, byte for byte.
    """
    from mmgrec.profiling.score_bench import bench_score, score_table
    from mmgrec.profiling.score_kills import bench_score_kills, score_kills_table
    from mmgrec_engine.settings import num_threads

    job = (run, users, k, beam_width, threads or num_threads())
    with HUMAN.status("") as status:
        if kills:
            report = bench_score_kills(*job, kills, status.update)
        else:
            report = bench_score(*job, status.update)
    if json:
        print_json(report)
    else:
        print_table(score_kills_table(report) if kills else score_table(report))
    if kills and not report["rows"][0]["identical"]:
        raise typer.Exit(1)


@bench_app.command()
def serve(
    run: RunArgument,
    seconds: Annotated[float, typer.Option(min=1, help="Per load.")] = 10,
    soak: Annotated[
        float | None,
        typer.Option(min=0.1, help="Instead: minutes at 80 %, with reloads and edits."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Of the soak.")] = 2,
    json: JsonOption = False,
) -> None:
    """Load servers of the run on this machine: latency against offered load, what HTTP adds.

    Clients send requests of one user at fixed rates over loopback, to one and to two workers. The
    soak counts failed requests and watches memory.
    """
    from mmgrec.profiling.serve_load import bench_serve, serve_tables
    from mmgrec.profiling.serve_soak import soak_serve, soak_serve_table

    histories = _histories(run)
    with HUMAN.status("") as status:
        if soak is None:
            report = bench_serve(run, histories, seconds, status.update)
        else:
            report = soak_serve(run, histories, soak, workers, status.update)
    if soak is None:
        print_report(report, serve_tables, json)
    elif json:
        print_json(report)
    else:
        print_table(soak_serve_table(report))


@bench_app.command()
def device(json: JsonOption = False) -> None:
    """Time kernels and whole requests on the GPU, beside torch on the same GPU (two minutes).

    Kernels are replays of captured calls, and in the JSON also what Triton's do_bench says;
    requests go from arrays to arrays on the host.
    """
    from mmgrec.profiling.bench_report import bench_tables
    from mmgrec.profiling.device_report import bench_device

    with HUMAN.status("") as status:
        report = bench_device(status.update)
    print_report(report, bench_tables, json)
    for row in report["failed"]:
        HUMAN.print(f"failed: {row['case']}: {row['error']}", markup=False)
    if report["failed"]:
        raise typer.Exit(1)


@bench_app.command()
def certificates(
    run: RunArgument,
    users: Annotated[int, typer.Option(min=1, help="Test users to take, evenly spread.")] = USERS,
    limit: Annotated[int, typer.Option(min=1, help="Prefixes decoded per user at most.")] = LIMIT,
    json: JsonOption = False,
) -> None:
    """Report how often beam search is right, how often it can prove it, and what proofs cost.

    For beams of 10, 20 and 50: the share of users whose best 10 the beam itself certifies, the
    share whose best 10 are the true ones, and prefixes and time of an exact search.
    """
    set_threads()
    from mmgrec.profiling.certificates import certificates_table

    with HUMAN.status("") as status:
        report = _certificates(run, users, limit, status.update)
    if json:
        print_json(report)
    else:
        print_table(certificates_table(report))


def _histories(run: Path) -> list[list[Any]]:
    from mmgrec.data.dataset import Dataset
    from mmgrec.profiling.certificates import test_histories

    return test_histories(Dataset.load(run / "dataset"), USERS)


def _certificates(run: Path, users: int, limit: int, tell: Callable[[str], None]) -> dict[str, Any]:
    from mmgrec.data.dataset import Dataset
    from mmgrec.profiling.certificates import bench_certificates

    return bench_certificates(load_engine(run), Dataset.load(run / "dataset"), users, limit, tell)
