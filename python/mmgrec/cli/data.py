"""`mmgrec data`: obtain, import and describe data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmgrec.cli.output import HUMAN, print_json, print_table
from mmgrec.cli.runs import named_files
from mmgrec_engine.artifact import ensure_folder
from mmgrec_engine.errors import ConfigError

data_app = typer.Typer(help="Obtain, import and describe data sets.", no_args_is_help=True)


class Duplicates(StrEnum):
    """What to do with a user-item pair that occurs twice."""

    error = "error"
    keep_first = "keep-first"


Out = Annotated[Path, typer.Option("--out", help="Folder of the data set.")]
SplitOption = Annotated[
    str | None,
    typer.Option(help="given, random (8:1:1 per user) or leave-last-out (by time)."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random split.")]
TextMethod = Annotated[str, typer.Option(help="auto, minilm (extra 'text') or tfidf.")]


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(help="ml-100k")],
    out: Out,
    split: SplitOption = "random",
    seed: Seed = 0,
    text_method: TextMethod = "auto",
) -> None:
    """Obtain a public data set from its publisher, with text features."""
    from mmgrec.data.describe import describe, describe_table
    from mmgrec.data.movielens import get_movielens

    if name != "ml-100k":
        raise ConfigError("unknown data set", value=name, allowed="ml-100k")
    dataset = get_movielens(
        split=split or "random", seed=seed, text_method=text_method, say=HUMAN.print
    )
    dataset.save(out, {"source": name, "split": split, "seed": seed})
    print_table(describe_table(describe(dataset)))


@data_app.command("import")
def import_(
    table: Annotated[Path, typer.Argument(help="Interactions: .parquet, .csv, .tsv or .inter.")],
    out: Out,
    modality: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE, .npy or .parquet; repeatable.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Items table: item, title, ...")] = None,
    text: Annotated[
        str | None, typer.Option(help="Columns of the items table to embed, e.g. title,genres.")
    ] = None,
    text_method: TextMethod = "auto",
    images: Annotated[
        Path | None, typer.Option(help="Folder of images named by item id (extra 'image').")
    ] = None,
    split: SplitOption = None,
    seed: Seed = 0,
    min_rating: Annotated[float | None, typer.Option(help="Drop lower ratings.")] = None,
    on_duplicate: Annotated[
        Duplicates, typer.Option(help="Repeated user-item pairs.")
    ] = Duplicates.error,
    user_column: Annotated[str | None, typer.Option(help="Column with user ids.")] = None,
    item_column: Annotated[str | None, typer.Option(help="Column with item ids.")] = None,
    timestamp_column: Annotated[str | None, typer.Option(help="Column with times.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column with ratings.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column with the split.")] = None,
) -> None:
    """Import your own interactions, features, texts and images."""
    from mmgrec.data.describe import describe, describe_table
    from mmgrec.data.importer import ImportOptions, add_features, import_dataset

    named = {
        "user": user_column,
        "item": item_column,
        "timestamp": timestamp_column,
        "rating": rating_column,
        "split": split_column,
    }
    options = ImportOptions(
        columns={ours: theirs for ours, theirs in named.items() if theirs is not None},
        split=split,
        seed=seed,
        min_rating=min_rating,
        on_duplicate=on_duplicate.value,
    )
    dataset = import_dataset(
        table,
        name=out.name,
        modalities=named_files(modality or [], "modality"),
        items=items,
        options=options,
    )
    ensure_folder(out)  # rather now than when all is embedded
    columns = [column.strip() for column in text.split(",")] if text else []
    dataset = add_features(dataset, columns, text_method, images)
    dataset.save(out, {"source": table.name, "split": split, "seed": seed})
    print_table(describe_table(describe(dataset)))


@data_app.command("describe")
def describe_(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Print users, items, density, history lengths and modalities of a data set."""
    from mmgrec.data.dataset import Dataset
    from mmgrec.data.describe import describe, describe_table

    figures = describe(Dataset.load(dataset))
    if json:
        print_json(figures)
    else:
        print_table(describe_table(figures))
