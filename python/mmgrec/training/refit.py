"""Training once more, on validation items too, with what a run has chosen on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmgrec.data.dataset import Dataset
from mmgrec.training.choices import Choices
from mmgrec.training.pipeline import Run
from mmgrec.training.presets import TrainConfig
from mmgrec_engine.artifact import MODEL, Folder, open_folder
from mmgrec_engine.errors import ArtifactError, ConfigError, DataError


def refit_run(before: Path, dataset: Dataset, folder: Path, seed: int | None = None) -> Run:
    """Return the run in ``folder`` that trains on all but the test split.

    Parameters
    ----------
    before : Path
        The run whose choices it takes, and preset and configuration.
    dataset : Dataset
        What that run was trained on.
    folder : Path
        Of the new run.
    seed : int, optional
        Of the new run; that of ``before``, if not given.

    Raises
    ------
    ArtifactError
        ``before`` is no finished run, or does not say what it has chosen.
    ConfigError
        It is a refit itself, or the two are one folder.
    DataError
        It was trained on another data set.
    """
    source = open_folder(before, MODEL)
    provenance = source.config["provenance"]
    if folder.resolve() == before.resolve():
        raise ConfigError("a refit needs a folder of its own", value=folder)
    if provenance.get("refit_of") is not None:
        raise ConfigError(
            f"{before} is a refit itself",
            value=f"of {before / provenance['refit_of']}",
            remedy="refit the run that it is a refit of",
        )
    choices = read_choices(source)
    run = trained_run(source, dataset)
    if run.fingerprint != provenance["fingerprint"]:
        raise DataError(
            f"this is not the data set that {before} was trained on",
            value=dataset.name,
            remedy="give the folder that mmgrec train was given; if it has changed, train again",
        )
    return replace(run, seed=run.seed if seed is None else seed).refitted(folder, choices)


def trained_run(source: Folder, dataset: Dataset) -> Run:
    """Return the run that made an artifact, if ``dataset`` is what it was given."""
    provenance = source.config["provenance"]
    config = TrainConfig.model_validate(provenance["train_config"])
    run = Run(source.path, dataset, config, provenance["preset"], provenance["seed"])
    refit_of = provenance.get("refit_of")
    if refit_of is None:
        return run
    return replace(run, folder=source.path / refit_of).refitted(source.path, read_choices(source))


def read_choices(source: Folder) -> Choices:
    """Read what validation chose in a run; `ArtifactError` where an older version made it."""
    if "choices.json" not in source.files:
        raise ArtifactError(
            f"{source.path} does not say what validation chose: an older version of mmgrec made it",
            remedy="train it again, with --restart",
        )
    return Choices.model_validate_json(source.file("choices.json").read_text())
