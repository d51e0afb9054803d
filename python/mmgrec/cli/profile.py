"""`mmgrec profile`: where the time of a request and of a batch goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmgrec.cli.output import HUMAN, print_report
from mmgrec.cli.runs import JsonOption, RunArgument


def profile(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Folder for profile.json, .png and the trace.")] = Path(
        "profile"
    ),
    batch: Annotated[int, typer.Option(min=1, help="Users of the batch.")] = 64,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    json: JsonOption = False,
) -> None:
    """Time one request and one batch by stage: a table, a picture and a trace for Perfetto.

    One thread. The request is that of the user whose history has the median length.
    """
    from mmgrec.profiling.profile_files import plot_profile, write_trace
    from mmgrec.profiling.request_profile import profile_tables
    from mmgrec_engine.artifact import ensure_folder
    from mmgrec_engine.writers import write_json

    ensure_folder(out)
    with HUMAN.status("") as status:
        report = _report(run, batch, k, beam_width, status.update)
    write_json(report)(out / "profile.json")
    plot_profile(report, out / "profile.png")
    write_trace(report, out / "trace.json")
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
