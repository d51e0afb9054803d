"""Options and set-up that commands on runs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgrec.cli.output import HUMAN
from mmgrec_engine.artifact import ensure_folder
from mmgrec_engine.errors import ConfigError

if TYPE_CHECKING:
    from mmgrec.training.distributed import Processes
    from mmgrec.training.pipeline import Run
    from mmgrec.training.presets import TrainConfig
    from mmgrec.training.reporter import Reporter
    from mmgrec_engine.engine import Engine

DataArgument = Annotated[Path, typer.Argument(help="Folder of the data set.")]
RunArgument = Annotated[Path, typer.Argument(help="Folder of the run.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
PresetOption = Annotated[str, typer.Option(help="default or reference (the paper's).")]
ConfigOption = Annotated[
    Path | None, typer.Option(help="JSON with a whole training configuration, instead of a preset.")
]
RefitOption = Annotated[
    Path | None,
    typer.Option(
        "--refit",
        metavar="RUN",
        help="Train once more with what this run has chosen on validation, validation items "
        "included; preset and configuration are the run's.",
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, help="Of everything random; 0, or that of the run to refit.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Forget what an earlier run in this folder has done.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only JSON.")]


def prepare_run(
    data: Path,
    out: Path,
    preset_name: str,
    config: Path | None,
    seed: int | None,
    restart: bool,
    device: str,
    processes: Processes | None = None,
    refit: Path | None = None,
) -> tuple[Run, Reporter]:
    """Load data and configuration, make the run's folder; --restart forgets what is in it."""
    from dataclasses import replace

    from rich.console import Console

    from mmgrec.data.dataset import Dataset
    from mmgrec.training.distributed import ALONE
    from mmgrec.training.pipeline import Run, restart_run
    from mmgrec.training.refit import refit_run
    from mmgrec.training.reporter import Reporter

    set_threads()
    where, dataset = choose_device(device), Dataset.load(data)
    if refit is None:
        settings, preset_name = _settings(preset_name, config)
        run = Run(out, dataset, settings, preset_name, seed or 0)
    elif (preset_name, config) == ("default", None):
        run = refit_run(refit, dataset, out, seed)
    else:
        raise ConfigError("a refit has preset and configuration of its run: leave them out")
    processes = processes or ALONE
    run = replace(run, device=where, processes=processes, source=data)
    ensure_folder(out)
    with processes.first_goes_first():
        if restart and processes.first:
            restart_run(out)
    if not processes.first:
        return run, Reporter(Console(quiet=True), None)
    return run, Reporter(HUMAN, run.work / "logs")


def _settings(preset_name: str, config: Path | None) -> tuple[TrainConfig, str]:
    """Return a configuration and what it is called."""
    from mmgrec.training.presets import load_config, preset

    if config is not None:
        try:
            text = config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {config}", value=error, allowed="JSON") from None
        return load_config(text), str(config)
    return preset(preset_name), preset_name


def named_files(pairs: list[str], option: str) -> dict[str, Path]:
    """Read the values NAME=FILE of a repeatable option, such as "modality"."""
    named = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise ConfigError(f"--{option} is not NAME=FILE", value=pair)
        if name in named:
            raise ConfigError(f"--{option} names one {option} twice", value=name)
        named[name] = Path(path)
    return named


def choose_device(name: str) -> str:
    """Resolve auto; refuse a GPU that is not there."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError("unknown device", value=name, allowed="auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no GPU here that torch can use", value=name, allowed="auto, cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def load_engine(run: Path) -> Engine:
    """Load a run's engine; torch is imported, and told its threads, only where it computes."""
    from mmgrec_engine.engine import Engine

    engine = Engine.load(run)
    if engine.searcher.backend != "native":
        set_threads()
    return engine


def set_threads() -> None:
    """Apply MMGREC_THREADS to torch."""
    import torch

    from mmgrec_engine.settings import settings

    threads = settings().threads
    if threads is not None:
        torch.set_num_threads(threads)
