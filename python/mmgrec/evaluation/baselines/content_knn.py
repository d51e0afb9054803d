"""Nearest neighbours by features alone: what also ranks items that nobody has interacted with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.evaluation.baselines.base import MatrixScorer, Rows, Scores, Settings
from mmgrec_engine.errors import DataError

TABLE_ITEMS = 20_000
"""Items up to which all similarities are computed once: a float32 table of 1.6 GB."""


class ContentKnnSettings(Settings):
    """How many of the user's items count for a candidate: those most similar to it."""

    nearest: int = Field(ge=1)


class ContentKnn:
    """Cosine of features between a candidate and the user's items.

    ::

        sim(i, j) = mean over the modalities that both have of cos(z_im, z_jm)     z: standardised
        score     = mean of the `nearest` largest sim(i, j) over the user's items j

    Raises
    ------
    DataError
        The data set has no modality.
    """

    name: ClassVar[str] = "content-knn"
    seeded: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = ContentKnnSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {"nearest": (1, 3, 10, 1000)}

    def __init__(self, dataset: Dataset) -> None:
        self.check(dataset)
        self.history = dataset.histories(Split.TRAIN)
        self.features, self.present = standardised(dataset.modalities)
        everything = np.arange(dataset.num_items)
        self.table = self._similarity(everything) if dataset.num_items <= TABLE_ITEMS else None

    @staticmethod
    def check(dataset: Dataset) -> None:
        """Raise `DataError` where there are no features."""
        if not dataset.modalities:
            raise DataError(
                "a content kNN needs features, and the data set has no modality",
                value=dataset.name,
                remedy='leave "content-knn" out, or import the data with --modality',
            )

    def fit(self, settings: ContentKnnSettings, seed: int) -> MatrixScorer:
        """There is nothing to fit."""

        def score(rows: Rows) -> Scores:
            return np.stack([self._score(self.history.of(int(row)), settings) for row in rows])

        return MatrixScorer(self.history, score)

    def _score(self, items: NDArray[np.int32], settings: ContentKnnSettings) -> Scores:
        similar = self._similarity(items) if self.table is None else self.table[items]
        nearest = min(settings.nearest, len(items))
        if nearest < len(items):
            similar = np.partition(similar, len(items) - nearest, axis=0)[-nearest:]
        scores: Scores = similar.mean(0)
        return scores

    def _similarity(self, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the similarity of some items to all: ``[n, N]``."""
        common = self.present[items] @ self.present.T
        similar: NDArray[np.float32] = self.features[items] @ self.features.T
        similar /= np.maximum(common, 1.0)
        return similar


def standardised(
    modalities: Mapping[str, Modality],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return all modalities side by side, each row of each of unit length, and who has which.

    ``[N, sum of widths]``, zero where an item lacks the modality, and ``[N, modalities]``.
    """
    parts, masks = [], []
    for modality in modalities.values():
        known = modality.values[modality.present] if modality.present.any() else modality.values
        deviation = np.maximum(known.std(0), 1e-6)
        z = (modality.values - known.mean(0)) / deviation * modality.present[:, None]
        length = np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-6)
        parts.append((z / length).astype(np.float32))
        masks.append(modality.present.astype(np.float32))
    return np.concatenate(parts, axis=1), np.stack(masks, axis=1)
