"""What the trained model loses when it may not see a modality."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec.data.dataset import Dataset, Modality
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines import MatrixScorer, Rows, Scorer, Scores
from mmgrec.reports.lists import AT, Audience
from mmgrec.training.checkpoint import best_weights
from mmgrec.training.ensemble import projection
from mmgrec.training.graph import GraphStage
from mmgrec.training.refit import trained_run
from mmgrec.training.tokenizer import tokenizer_fingerprint
from mmgrec_engine.errors import DataError, MMGRecError
from mmgrec_engine.model_folder import ModelFolder
from mmgrec_engine.writers import read_tensors

Vectors = NDArray[np.float32]
SAME = 1e-3
"""Largest difference between a run's item vectors and those made of the same data again."""


@dataclass(frozen=True)
class Masked:
    """Vectors that a trained graph encoder makes of some modalities: data set's row order."""

    users: Vectors
    items: Vectors

    def dense(self, history: Histories) -> Scorer:
        """Rank by dot products, without Rec-IDs."""

        def score(rows: Rows) -> Scores:
            scores: Scores = self.users[rows] @ self.items.T
            return scores

        return MatrixScorer(history, score)


class MaskedEncoder:
    """A run's graph encoders, from whose eyes modalities can be kept.

    ::

        joint vectors = [vectors of all members] P + rest    P by least squares onto the run's own
        rest          = what an item-item ridge regression added; it knows no features

    Parameters
    ----------
    folder : ModelFolder
        The run. Its checkpoints hold the encoders.
    dataset : Dataset
        The data set that it was trained on, features included.

    Raises
    ------
    ArtifactError
        The run's checkpoints or tokeniser are not there any more.
    DataError
        It is another data set: it has no features, or gives other item vectors.
    """

    def __init__(self, folder: ModelFolder, dataset: Dataset) -> None:
        assert folder.source is not None  # it was loaded from a folder
        self._run = trained_run(folder.source, dataset)
        self.dataset, self.config = self._run.dataset, self._run.config
        self._path = folder.source.path
        # Runs of an experiment share them.
        self._encoders = self._path / folder.source.config["provenance"].get("encoders", "training")
        row_of = {item: row for row, item in enumerate(dataset.items["item"])}
        leaves = [row_of.get(item, -1) for item in folder.items["item"]]
        self.row_of_leaf = np.array(leaves, np.int64)
        self._joins: tuple[_Join, _Join] | None = None
        self._check(folder)

    def without(self, hidden: list[str]) -> Masked:
        """Make all vectors with these modalities absent from every item."""
        assert self._joins is not None  # _check has set them
        members = self._members(hidden)
        users, items = (join.vectors(x) for join, x in zip(self._joins, members, strict=True))
        return Masked(users.numpy(), items.numpy())

    def _members(self, hidden: list[str]) -> tuple[Tensor, Tensor]:
        """Return user and item vectors of all members, side by side."""
        absent = {
            name: Modality(modality.values, np.zeros_like(modality.present))
            for name, modality in self.dataset.modalities.items()
            if name in hidden
        }
        seen = replace(self.dataset, modalities={**self.dataset.modalities, **absent})
        stage = GraphStage(seen, self.config.graph, self.config.graph_training)
        vectors = []
        for member in range(self.config.graph.members):
            stage = stage.another(member) if member > 0 else stage
            weights = best_weights(self._encoders / stage.name)
            stage.model.load_state_dict(weights, strict=False)
            vectors.append(stage.vectors())
        users, items = zip(*vectors, strict=True)
        return torch.cat(users, 1), torch.cat(items, 1)

    def _check(self, folder: ModelFolder) -> None:
        wrong = DataError(
            "this is not the data set that the run was trained on",
            value=self.dataset.name,
            remedy="give --data the folder that mmgrec train was given",
        )
        if len(self.row_of_leaf) != self.dataset.num_items or self.row_of_leaf.min() < 0:
            raise wrong
        joint = read_tensors(self._path / "tokenizer" / "vectors.safetensors")
        try:
            members = self._members([])
        except RuntimeError:  # weights of other shapes: other users or modalities
            raise wrong from None
        if len(members[0]) != len(joint["users"]):
            raise wrong
        users, items = (
            _Join.onto(joint[name], x) for x, name in zip(members, ("users", "items"), strict=True)
        )
        self._joins = users, items
        own = folder.weights["item_vectors"]  # of an older tokeniser, if training began anew
        if np.abs(joint["items"].numpy()[self.row_of_leaf] - own).max() > SAME:
            raise wrong
        # Without a regression the vectors are the members'; with one only the fingerprint can tell.
        made_with = tokenizer_fingerprint(self._path / "tokenizer")
        if items.rest.abs().max() > SAME and self._run.fingerprint != made_with:
            raise wrong


@dataclass(frozen=True)
class _Join:
    """How members' vectors become joint ones."""

    projection: Tensor
    rest: Tensor

    @classmethod
    def onto(cls, joint: Tensor, members: Tensor) -> _Join:
        found = projection([members], joint)
        return cls(found, joint - members @ found)

    def vectors(self, members: Tensor) -> Tensor:
        return members @ self.projection + self.rest


def find_encoder(folder: ModelFolder, data: Path | None) -> tuple[MaskedEncoder | None, str]:
    """Return the encoder over a run's features, which the run itself does not keep.

    ::

        data given: it has to be the data set of the run
        else:       where the run noted that it was; None and the reason if it is not there now

    Raises
    ------
    ArtifactError, DataError
        ``data`` is no data set, or another one.
    """
    assert folder.source is not None  # it was loaded from a folder
    if not folder.source.config.get("tokenizer", {}).get("modalities"):
        return None, "the model was trained without features"
    if data is not None:
        return MaskedEncoder(folder, Dataset.load(data)), ""
    noted = folder.source.config["provenance"].get("data")
    if noted is None:
        return None, "the run does not keep its features; give --data the data set's folder"
    path = Path(os.path.normpath(folder.source.path / noted))
    try:
        return MaskedEncoder(folder, Dataset.load(path)), ""
    except MMGRecError as error:
        reason = str(error).splitlines()[0]
        return None, f"{reason}; give --data the folder of the data set that the run was trained on"


def modality_figures(
    folder: ModelFolder,
    encoder: MaskedEncoder,
    audience: Audience,
    popular: Rows,
    generative: Callable[[ModelFolder], Scorer],
) -> list[dict[str, Any]]:
    """Return Recall@20 with all modalities, without each, and without any.

    ::

        masked     = the trained graph encoder with these modalities absent from every item;
                     interactions and free embeddings stay
        dense      = ranking by its dot products
        generative = the trained recommender, shown the masked item vectors; Rec-IDs stay

    Parameters
    ----------
    folder : ModelFolder
        The trained run.
    encoder : MaskedEncoder
        Its graph encoder.
    audience : Audience
        Who is asked.
    popular : array
        Most popular items, for users without a history.
    generative : callable
        A model folder to its ranking.
    """
    names = sorted(encoder.dataset.modalities)
    cases = [("all modalities", []), *((f"without {name}", [name]) for name in names)]
    if len(names) > 1:
        cases.append(("without any", names))
    rows = []
    for case, hidden in cases:
        masked = encoder.without(hidden)
        weights = {**folder.weights, "item_vectors": masked.items[encoder.row_of_leaf]}
        if folder.users is not None:
            weights["user_vectors"] = masked.users
        scorers = {
            "mmgrec": generative(replace(folder, weights=weights)),
            "dense": masked.dense(audience.history),
        }
        lists = {name: audience.rank(scorer, popular) for name, scorer in scorers.items()}
        recall = {name: audience.recall_curve(top)[AT - 1] for name, top in lists.items()}
        rows.append({"case": case, "recall@20": recall})
    return rows
