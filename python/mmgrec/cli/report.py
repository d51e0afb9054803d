"""`mmgrec report`: a page on what a run is good at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec.cli.evaluate import SPLITS
from mmgrec.cli.output import HUMAN, print_json, say
from mmgrec.cli.runs import JsonOption, RunArgument, set_threads
from mmgrec_engine.artifact import ensure_folder
from mmgrec_engine.errors import ConfigError


def report(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="The page.", show_default="RUN/report.html")
    ] = None,
    split: Annotated[str, typer.Option(help="valid or test.")] = "valid",
    data: Annotated[
        Path | None,
        typer.Option(help="The data set with its features.", show_default="where it was"),
    ] = None,
    item: Annotated[str | None, typer.Option(help="Item whose Rec-ID tree is shown.")] = None,
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    json: JsonOption = False,
) -> None:
    """Write a page with tables and plots: quality, training, codes, rare items, modalities."""
    if split not in SPLITS:
        raise ConfigError("unknown split", value=split, allowed=", ".join(SPLITS))
    path = out or run / "report.html"
    if not json and (out is not None or run.is_dir()):
        ensure_folder(path.parent)  # rather now than when all is measured
    set_threads()
    from mmgrec.data.dataset import Split
    from mmgrec.reports.figures import Wish, report_figures

    wish = Wish(run, Split(SPLITS[split]), data, beam_width, item)
    figures = report_figures(wish, HUMAN.print)
    if json:
        print_json(figures)
        return
    from mmgrec.reports.page import report_page, save_page

    save_page(path, report_page(figures))
    say(f"The report is in {path}")
