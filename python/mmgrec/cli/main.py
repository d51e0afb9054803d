"""`mmgrec`: the verbs, and the one place where errors become messages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from mmgrec.cli.bench import bench_app
from mmgrec.cli.data import data_app
from mmgrec.cli.doctor import doctor
from mmgrec.cli.evaluate import evaluate
from mmgrec.cli.experiment import experiment
from mmgrec.cli.output import HUMAN
from mmgrec.cli.profile import profile
from mmgrec.cli.recommend import recommend
from mmgrec.cli.report import report
from mmgrec.cli.score import score
from mmgrec.cli.serve import serve
from mmgrec.cli.tokenize import tokenize
from mmgrec.cli.train import train
from mmgrec_engine import __version__
from mmgrec_engine.errors import MMGRecError

INTERRUPTED = 130
"""What typer makes of Ctrl-C: the exit code of a shell for SIGINT."""

app = typer.Typer(
    name="mmgrec",
    help="Generative multimodal recommendation: data to Rec-IDs to a model to recommended items.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
for command in (
    tokenize,
    train,
    evaluate,
    experiment,
    report,
    recommend,
    score,
    serve,
    profile,
    doctor,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmgrec-engine {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


def main() -> None:
    """Run the command line; an error that users can cause is a message and exit code 2."""
    try:
        app()
    except MMGRecError as error:
        HUMAN.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except OSError as error:
        HUMAN.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        HUMAN.print("  to do:   check that the disk has space and the folder can be written to")
        sys.exit(2)
    except SystemExit as done:
        if done.code == INTERRUPTED:
            HUMAN.print("interrupted; finished steps are kept, run the command again to go on")
        raise
