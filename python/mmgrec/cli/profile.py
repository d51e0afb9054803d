"""`mmgrec profile`: where the time of a request goes, and what the GPU kernels are made of."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mmgrec.cli.output import HUMAN, print_report
from mmgrec.cli.runs import JsonOption
from mmgrec_engine.errors import ConfigError


def profile(
    run: Annotated[Path | None, typer.Argument(help="Folder of the run.")] = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Profile the GPU kernels instead; needs no GPU.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="sm_80, sm_90 or sm_100; that of the GPU here, else sm_90."),
    ] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(help="Kernels whose names begin so; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for JSON, pictures and traces. [default: profile; kernels: nowhere]"
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Users of the batch.")] = 64,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    json: JsonOption = False,
) -> None:
    """Time one request and one batch of a RUN by stage, or profile the GPU kernels.

    RUN: a table, a picture and a trace for Perfetto; one thread. The request is that of the user
    whose history has the median length.

    --kernels: registers, shared memory, occupancy, instructions and a roofline prediction of every
    compiled kernel; on a GPU measured times and traces too.
    """
    _check(run, kernels, target, kernel)
    if kernels:
        from mmgrec.cli.profile_kernels import profile_kernels

        profile_kernels(target, kernel or [], out, json)
    elif run is not None:
        _profile_run(run, out or Path("profile"), (batch, k, beam_width), json)


def _check(run: Path | None, kernels: bool, target: str | None, kernel: list[str] | None) -> None:
    """Refuse options that contradict each other."""
    either = "either a run (mmgrec profile RUN) or --kernels"
    if kernels and run is not None:
        raise ConfigError("profile got a run and --kernels", value=run, allowed=either)
    if not kernels and run is None:
        raise ConfigError("profile got nothing to profile", allowed=either)
    if not kernels and (target or kernel):
        raise ConfigError(
            "--target and --kernel are for kernels",
            value=target or " ".join(kernel or []),
            remedy="add --kernels, or leave them out",
        )


def _profile_run(run: Path, out: Path, sizes: tuple[int, int, int], json: bool) -> None:
    from mmgrec.profiling.profile_files import plot_profile, write_trace
    from mmgrec.profiling.request_profile import profile_tables
    from mmgrec_engine.artifact import ensure_folder, write_file
    from mmgrec_engine.writers import write_json

    ensure_folder(out)
    with HUMAN.status("") as status:
        report = _report(run, *sizes, status.update)
    write_file(out / "profile.json", write_json(report))
    write_file(out / "profile.png", partial(plot_profile, report))
    write_file(out / "trace.json", partial(write_trace, report))
    HUMAN.print(
        f"Written: {out}/profile.json, profile.png; trace.json is for https://ui.perfetto.dev"
    )
    print_report(report, profile_tables, json)


def _report(run: Path, batch: int, k: int, beam_width: int, tell: Any) -> dict[str, Any]:  # noqa: ANN401
    from mmgrec.data.dataset import Dataset
    from mmgrec.profiling.certificates import test_histories
    from mmgrec.profiling.environment import machine
    from mmgrec.profiling.request_profile import profile_request
    from mmgrec.profiling.roof import begin_bench
    from mmgrec_engine.engine import Engine

    _, roof = begin_bench(tell)
    engine = Engine.load(run, backend="native", threads=1)
    histories = test_histories(Dataset.load(run / "dataset"), batch)
    requests = []
    for users in ([histories[len(histories) // 2]], histories):
        tell(f"{len(users)} users")
        requests.append(profile_request(engine, users, k, beam_width).as_json(roof))
    return {
        "machine": machine(),
        "roof": roof.as_json(),
        "run": str(run),
        "requests": requests,
    }
