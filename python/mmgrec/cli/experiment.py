"""`mmgrec experiment`: a results table with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec.cli.output import HUMAN, print_json, print_table, say
from mmgrec.cli.runs import DeviceOption, JsonOption, choose_device, set_threads


def experiment(
    config: Annotated[Path, typer.Argument(help="The table's description, TOML or JSON.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the experiment.", show_default="runs/NAME")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train and measure every row of a table: ours and baselines, seeds, paired bootstrap.

    Finished rows are kept in the folder: a killed experiment goes on where it was, and rows that
    are added later do not repeat the others. docs/results.md describes the file.
    """
    set_threads()
    from mmgrec.experiments.config import load_experiment
    from mmgrec.experiments.runner import run_experiment
    from mmgrec.experiments.tables import result_tables

    folder = out or Path("runs") / config.stem
    results = run_experiment(load_experiment(config), folder, HUMAN, choose_device(device))
    if json:
        print_json(results)
        return
    for table in result_tables(results):
        print_table(table)
    say(f"Also in {folder}/results.md and {folder}/results.json")
