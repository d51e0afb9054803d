"""`mmgrec train`: from a data set to a servable artifact."""

from __future__ import annotations

from mmgrec.cli.output import say
from mmgrec.cli.runs import (
    ConfigOption,
    DataArgument,
    DeviceOption,
    OutOption,
    PresetOption,
    RefitOption,
    RestartOption,
    SeedOption,
    choose_device,
    prepare_run,
)


def train(
    data: DataArgument,
    out: OutOption,
    preset: PresetOption = "default",
    config: ConfigOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    restart: RestartOption = False,
    refit: RefitOption = None,
) -> None:
    """Do everything that is missing, tokenising included; a killed run goes on where it was.

    Under torchrun several processes share the work: torchrun --nproc-per-node 2 -m mmgrec train
    DATA --out RUN.
    """
    from mmgrec.training.distributed import joined

    where = choose_device(device)
    with joined(where) as processes:
        run, report = prepare_run(data, out, preset, config, seed, restart, where, processes, refit)
        from mmgrec.training.pipeline import train_run

        train_run(run, report)
        if processes.first:
            say(f"The model is in {out}. Next: mmgrec evaluate {out}")
