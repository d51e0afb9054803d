"""`mmgrec tokenize`: give every item of a catalogue a Rec-ID."""

from __future__ import annotations

from mmgrec.cli.output import print_json, print_table
from mmgrec.cli.runs import (
    ConfigOption,
    DataArgument,
    DeviceOption,
    JsonOption,
    OutOption,
    PresetOption,
    RestartOption,
    SeedOption,
    prepare_run,
)


def tokenize(
    data: DataArgument,
    out: OutOption,
    preset: PresetOption = "default",
    config: ConfigOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    restart: RestartOption = False,
    json: JsonOption = False,
) -> None:
    """Learn item vectors, codebooks and Rec-IDs; report how well the codes are used."""
    run, report = prepare_run(data, out, preset, config, seed, restart, device)
    from mmgrec.training.health_table import health_table
    from mmgrec.training.pipeline import tokenize_run

    tokens = tokenize_run(run, report)
    if json:
        print_json({**tokens.health.model_dump(), "level_sizes": tokens.level_sizes})
    else:
        print_table(health_table(tokens.health, tokens.level_sizes))
