"""`train`: from a data set to a servable artifact, every missing step included."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.choices import Choices, RecommenderChoices
from mmgrec.training.distributed import ALONE, Processes
from mmgrec.training.loop import epoch_generator, run_stage
from mmgrec.training.members import encoder_fingerprint, train_members
from mmgrec.training.presets import TrainConfig
from mmgrec.training.recommender import Catalogue, RecommenderStage
from mmgrec.training.reporter import Reporter
from mmgrec.training.tokenizer import KIND, Tokenized, tokenize, tokenizer_config
from mmgrec_engine.artifact import folder_exists
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import DataError
from mmgrec_engine.model_folder import ModelFolder, save_model_folder


@dataclass(frozen=True)
class Refit:
    """What a run takes over instead of choosing it: the choices of the run in the folder ``of``."""

    of: Path
    choices: Choices


@dataclass(frozen=True)
class Run:
    """A run's folder and what determines it; equal runs resume each other.

    ``device`` and ``processes`` may differ between them. ``source``: the data set's folder, noted
    for reports, which need the features again. ``shared``: where runs that differ in what comes
    after the graph encoders find each other's. ``refit``: see `refitted`.
    """

    folder: Path
    dataset: Dataset
    config: TrainConfig
    preset: str
    seed: int
    device: str = "cpu"
    processes: Processes = ALONE
    source: Path | None = None
    shared: Path | None = None
    refit: Refit | None = None

    @property
    def encoders(self) -> Path:
        """Checkpoints of the graph encoders."""
        if self.shared is None:
            return self.work
        return self.shared / encoder_fingerprint(self.dataset, self.config, self.seed)[:16]

    @property
    def work(self) -> Path:
        """Checkpoints and TensorBoard logs."""
        return self.folder / "training"

    @property
    def fingerprint(self) -> str:
        """Hash of data, configuration and seed, and of what a refit makes Rec-IDs with."""
        digest = hashlib.sha256(f"{self.seed}/{self.config.model_dump_json()}".encode())
        if self.refit is not None:
            digest.update(self.refit.choices.tokenizer.model_dump_json().encode())
        self.dataset.hash_into(digest)
        return digest.hexdigest()

    def refitted(self, folder: Path, choices: Choices) -> Run:
        """Return the run that trains on validation items too, with what this one has chosen."""
        dataset = self.dataset.knowing(Split.VALID)
        return replace(self, folder=folder, dataset=dataset, refit=Refit(self.folder, choices))


def restart_run(folder: Path) -> None:
    """Forget the tokeniser and checkpoints of a run; its artifact stays until the new one."""
    for name in ("tokenizer", "training"):
        shutil.rmtree(folder / name, ignore_errors=True)


def tokenize_run(run: Run, report: Reporter) -> Tokenized:
    """Give every item a Rec-ID (or read those that are there)."""
    if not len(run.dataset.histories(Split.TRAIN).item_rows):
        raise DataError("the data set has no training interactions", value=run.dataset.name)
    folder, processes = run.folder / "tokenizer", run.processes
    common: dict[str, Any] = {
        "seed": run.seed,
        "report": report,
        "device": run.device,
        "processes": processes,
        "chosen": None if run.refit is None else run.refit.choices.tokenizer,
    }
    there = processes.first_says(lambda: folder_exists(folder, KIND))
    if not there and not processes.first:
        train_members(run.dataset, run.config, run.encoders, **common)
    with processes.first_goes_first():  # the others read what it has left
        return tokenize(
            run.dataset,
            run.config,
            folder=folder,
            work=run.work,
            encoders=run.encoders,
            fingerprint=run.fingerprint,
            **common,
        )


def train_run(run: Run, report: Reporter) -> None:
    """Train everything that is missing and write the artifact.

    ::

        rec_ids   = tokenise the catalogue
        trie      = sort the items by Rec-ID
        weights   = train the recommender on context/target splits
        artifact  = weights, tokeniser, trie, items in leaf order, the interactions; written last
    """
    started = time.monotonic()
    with run.processes.explaining():
        tokens = tokenize_run(run, report)
    catalogue, order = build_catalogue(tokens, run.config.graph_training.score_scale)
    history, relevant = (
        catalogue.to_ranks(run.dataset.histories(split)) for split in (Split.TRAIN, Split.VALID)
    )
    config = run.config
    chosen = None if run.refit is None else run.refit.choices.recommender
    report.say(f"Training the recommender on {len(history.item_rows):,} interactions")
    epoch_generator(run.seed, "initial recommender weights", 0)
    stage = RecommenderStage(
        catalogue,
        history,
        relevant,
        config.recommender,
        config.recommender_training,
        run.device,
        run.processes,
        in_order=run.dataset.in_order,
        chosen=chosen,
    )
    if stage.decay < 1:
        report.say(f"An item of a history weighs {stage.decay:.1g} of the next newer one")
    with run.processes.explaining():
        progress = run_stage(
            stage,
            config.recommender_training.loop,
            folder=run.work / "recommender",
            fingerprint=run.fingerprint + ("" if chosen is None else chosen.model_dump_json()),
            seed=run.seed,
            report=report,
            processes=run.processes,
            epochs=None if chosen is None else chosen.epochs,
        )
    if run.processes.first:
        metrics = {
            "validation_ndcg@20": progress.best_score if progress.best_epoch >= 0 else None,
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,
            "rec_ids": tokens.health.model_dump(),
            "item_width": tokens.item_vectors.shape[1],
            "history_decay": stage.decay,
            "seconds": time.monotonic() - started,
        }
        popularity = np.bincount(history.item_rows, minlength=run.dataset.num_items)
        items = _item_table(run.dataset, catalogue, order, popularity)
        found = RecommenderChoices(
            history_decay=stage.decay, softness=stage.softness, epochs=progress.kept
        )
        choices = Choices(tokenizer=tokens.choices, recommender=found)
        _save_artifact(run, stage, items, tokens, choices, metrics)


def _save_artifact(
    run: Run,
    stage: RecommenderStage,
    items: pl.DataFrame,
    tokens: Tokenized,
    choices: Choices,
    metrics: dict[str, Any],
) -> None:
    graph_users = run.config.recommender.user_vector == "graph"
    users = run.dataset.users["user"] if graph_users else None
    run.dataset.without_features().save(run.folder / "dataset")
    save_model_folder(
        run.folder,
        ModelFolder.of_model(stage.model, stage.catalogue.trie, items, users),
        quantizer=tokens.quantizer,
        features=tokens.features,
        tokenizer=tokenizer_config(run.dataset, run.config, tokens.item_vectors).model_dump(),
        metrics=metrics,
        choices=choices.model_dump(),
        provenance={
            "dataset": run.dataset.name,
            "preset": run.preset,
            "seed": run.seed,
            "train_config": json.loads(run.config.model_dump_json()),
            "fingerprint": run.fingerprint,
            # From the run's folder, so that both can be moved together.
            "data": None if run.source is None else os.path.relpath(run.source, run.folder),
            "encoders": os.path.relpath(run.encoders, run.folder),
            "refit_of": None if run.refit is None else os.path.relpath(run.refit.of, run.folder),
        },
    )


def build_catalogue(tokens: Tokenized, score_scale: float) -> tuple[Catalogue, np.ndarray]:
    """Sort the items by Rec-ID; return the catalogue and the item row of every leaf rank."""
    trie, order = Trie.build(tokens.rec_ids, tokens.level_sizes)
    rank_of_row = np.empty(len(order), np.int64)
    rank_of_row[order] = np.arange(len(order))
    rows = torch.from_numpy(order)
    vectors = tokens.item_vectors[rows].numpy()
    users = tokens.user_vectors.numpy()
    return Catalogue(trie, trie.codes(), vectors, users, rank_of_row, score_scale), order


def _item_table(
    dataset: Dataset,
    catalogue: Catalogue,
    order: np.ndarray,
    popularity: np.ndarray,
) -> pl.DataFrame:
    tokens = {f"token_{t}": catalogue.codes[:, t] for t in range(catalogue.codes.shape[1])}
    columns = [c for c in dataset.items.columns if c not in (*tokens, "popularity")]
    extra = [pl.Series(name, values) for name, values in tokens.items()]
    extra.append(pl.Series("popularity", popularity))
    in_leaf_order: pl.DataFrame = dataset.items.select(columns)[order]
    return in_leaf_order.with_columns(extra)
