"""`mmgrec score`: recommended items for every user of a Parquet file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgrec.cli.output import HUMAN, print_json
from mmgrec.cli.runs import JsonOption, RunArgument, named_files
from mmgrec_engine.errors import ConfigError

if TYPE_CHECKING:
    from mmgrec.scoring.job import Runner


class Where(StrEnum):
    """Where a job runs."""

    local = "local"
    ray = "ray"


class Errors(StrEnum):
    """What a row that cannot be scored does."""

    stop = "stop"
    skip = "skip"


def score(
    run: RunArgument,
    input: Annotated[
        Path, typer.Option("--input", help="Parquet file, or folder of them: history, user, ...")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder of the shards.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    filter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE, a table with a column item; for 'where'; repeatable."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Filters for rows without their own, e.g. 'a and not b'.")
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Recommend items of the history, too.")
    ] = False,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave unknown items out of lists.")
    ] = False,
    on_error: Annotated[
        Errors, typer.Option(help="Rows that cannot be scored: stop, or skip into _rejects/.")
    ] = Errors.stop,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="Of the weights: fp32, bf16 or int8.")] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Per machine; with Ray per worker (1).")
    ] = None,
    batch_users: Annotated[int, typer.Option(min=1, help="Users of one native call.")] = 512,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="Users of an output file.")] = 50_000,
    engine: Annotated[Where, typer.Option(help="This machine, or a Ray cluster.")] = Where.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray actors; by default one per processor.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what the output folder holds.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Score every user of a Parquet file into Parquet shards; a killed job goes on where it was."""
    from mmgrec.scoring.job import Job
    from mmgrec.scoring.job import score as run_job
    from mmgrec.scoring.settings import OnError, ScoreSettings

    settings = ScoreSettings(
        k=k,
        beam_width=beam_width,
        exclude_seen=not include_seen,
        device=device,
        precision=precision,
        where=where,
        filters=named_files(filter or [], "filter"),
        drop_unknown=drop_unknown,
    )
    job = Job(run, input, output, settings, rows_per_shard, batch_users, OnError(on_error.value))
    report = run_job(job, _runner(engine, workers, threads), HUMAN, restart=restart)
    if json:
        print_json(report)
    else:
        HUMAN.print(_summary(report, output), highlight=False)


def _runner(engine: Where, workers: int | None, threads: int | None) -> Runner:
    from mmgrec.scoring.job import LocalRunner

    if engine is Where.ray:
        from mmgrec.scoring.on_ray import RayRunner

        return RayRunner(workers, threads or 1)
    if workers is not None:
        raise ConfigError("--workers is of --engine ray", remedy="use --threads here")
    return LocalRunner(threads)


def _summary(report: dict[str, Any], output: Path) -> str:
    text = (
        f"{report['users']:,} users, {report['results']:,} results in {report['shards']} shards in "
        f"{output}"
    )
    if report["scored_users"]:
        text += f"; {report['scored_users']:,} users in {report['seconds']:,.1f} s, "
        text += f"{report['users_per_s']:,.0f} a second"
    if report["rejected"]:
        text += f"; {report['rejected']:,} rows rejected, see {output / '_rejects'}"
    if report["dropped"]:
        text += f"; {report['dropped']:,} unknown ids left out"
    return text
