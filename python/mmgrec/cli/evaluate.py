"""`mmgrec evaluate`: Recall and NDCG of a run beside baselines."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgrec.cli.output import print_json, print_table
from mmgrec.cli.runs import JsonOption, RunArgument, load_engine
from mmgrec_engine.errors import ConfigError

SPLITS = {"valid": 1, "test": 2}


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="test or valid.")] = "test",
    beam_width: Annotated[int, typer.Option(min=1, help="Beams per user.")] = 50,
    exact: Annotated[
        bool, typer.Option("--exact", help="Find the true best of the whole catalogue.")
    ] = False,
    with_valid: Annotated[
        bool,
        typer.Option(
            "--with-valid",
            help="Show the validation items too, as who ranks test items in order of time does.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Measure a run on held-out items: full catalogue, items of the histories excluded."""
    if split not in SPLITS:
        raise ConfigError("unknown split", value=split, allowed=", ".join(SPLITS))
    if with_valid and split == "valid":
        raise ConfigError("--with-valid shows what is asked for", allowed="with --split test")
    from mmgrec.data.dataset import Dataset, Split
    from mmgrec.evaluation.engine_rank import EngineRank
    from mmgrec.evaluation.protocol import evaluate as measure
    from mmgrec.evaluation.protocol import evaluation_table

    dataset = Dataset.load(run / "dataset")
    known = dataset.knowing(Split.VALID) if with_valid else None
    engine = EngineRank(load_engine(run), known or dataset, beam_width, exact=exact)
    figures = measure(dataset, Split(SPLITS[split]), engine, known)
    if exact:
        figures["certified"] = engine.certified_share
    if json:
        print_json(figures)
    else:
        print_table(evaluation_table(figures))
