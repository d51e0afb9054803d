"""Items that are new after training: which ones, what is trained on, what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines import Rows
from mmgrec_engine.errors import DataError


@dataclass(frozen=True)
class ColdItems:
    """A data set some of whose items are kept from training entirely.

    ``visible``: all items with their features, without any interaction of a cold one. ``warm``: the
    same without the cold items, so with other item rows: what models are trained on. ``rows``
    ``[C]``: the cold items, as rows of ``visible``. ``targets``: all interactions of cold items, of
    whatever split. ``users`` ``[n]``: who has targets, and training items to be known by.
    """

    visible: Dataset
    warm: Dataset
    rows: Rows
    targets: Histories
    users: Rows

    @property
    def ids(self) -> list[object]:
        """External ids of the cold items."""
        ids: list[object] = self.visible.items["item"].gather(self.rows).to_list()
        return ids

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which items of ``visible`` are cold: ``[N]``."""
        mask = np.zeros(self.visible.num_items, bool)
        mask[self.rows] = True
        return mask


def hold_out_items(dataset: Dataset, share: float, seed: int) -> ColdItems:
    """Draw items that are to be new after training.

    ::

        candidates = items with features of any modality and at least one interaction
        cold       = share of them, at random;  all their interactions become targets

    Parameters
    ----------
    dataset : Dataset
        With features.
    share : float
        Of the candidates, between 0 and 1.
    seed : int
        Of the draw.

    Raises
    ------
    DataError
        No item has features, too few do to hold any out, or nobody can be asked about them.
    """
    interactions = dataset.interactions
    has_features = np.zeros(dataset.num_items, bool)
    for modality in dataset.modalities.values():
        has_features |= modality.present
    used = np.bincount(interactions["item_row"].to_numpy(), minlength=dataset.num_items) > 0
    candidates = np.flatnonzero(has_features & used)
    count = round(share * len(candidates))
    if count == 0:
        raise DataError(
            "there are no items to hold out",
            value=f"{len(candidates)} items with features and interactions, share {share:g}",
            remedy="import the data with --modality, or raise the share",
        )
    drawn = np.random.default_rng(seed).choice(candidates, count, replace=False)
    rows = np.sort(drawn).astype(np.int64)
    is_cold = pl.col("item_row").is_in(rows.astype(np.int32))
    visible = replace(dataset, interactions=interactions.filter(~is_cold))
    asked = interactions.filter(is_cold).sort("user_row", "item_row")
    pairs = asked["user_row"].to_numpy(), asked["item_row"].to_numpy()
    targets = Histories.of_pairs(*pairs, dataset.num_users)
    known = visible.histories(Split.TRAIN).lengths > 0
    users = np.flatnonzero((targets.lengths > 0) & known)
    if len(users) == 0:
        raise DataError(
            "nobody who has interactions with held-out items has other training items",
            value=f"{count} items held out, share {share:g}",
            remedy="lower the share, or take a larger data set",
        )
    return ColdItems(visible, without_items(visible, rows), rows, targets, users)


def without_items(dataset: Dataset, rows: Rows) -> Dataset:
    """Return a data set without these items and their interactions; users stay."""
    keep = np.ones(dataset.num_items, bool)
    keep[rows] = False
    new_row = np.cumsum(keep) - 1
    interactions = dataset.interactions.filter(
        pl.Series(keep[dataset.interactions["item_row"].to_numpy()])
    )
    moved = pl.Series("item_row", new_row[interactions["item_row"].to_numpy()].astype(np.int32))
    modalities = {
        name: Modality(m.values[keep], m.present[keep]) for name, m in dataset.modalities.items()
    }
    return replace(
        dataset,
        items=dataset.items.filter(pl.Series(keep)),
        interactions=interactions.with_columns(moved),
        modalities=modalities,
    )
