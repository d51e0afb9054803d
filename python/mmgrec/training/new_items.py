"""Vectors of items that come after training: a map of features, fitted to the trained vectors.

Shapes: N items, F features of all modalities, D item-vector width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec.data.dataset import Modality
from mmgrec.data.histories import Histories, spread
from mmgrec.training.validation import ndcg_at
from mmgrec_engine.models.feature_map import standardised

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths that are tried, in units of a standardised feature's variance."""
FOLDS = 4
BLOCK = 65_536
FOLD_ITEMS, FOLD_USERS = 10_000, 2048
"""At most this many left-out items, and users, are ranked per fold."""
K = 20


@torch.no_grad()
def fit_new_items(
    modalities: Mapping[str, Modality],
    history: Histories,
    vectors: tuple[Tensor, Tensor],
    seed: int,
) -> dict[str, NDArray[np.float32]]:
    """Return the state of the `FeatureMap` that gives later items their vectors.

    ::

        v_i = trained vector, z_i = standardised features, w_i = sqrt(training interactions)
        W   = argmin  sum_i w_i |z_i W - (v_i - mean v)|^2 + ridge sum_i w_i |W|^2
        ridge: items are left out in folds; the ridge that ranks them best for their users

    Parameters
    ----------
    modalities : mapping
        Features of all items. Without any, the state is empty.
    history : Histories
        Training interactions.
    vectors : pair of Tensor
        Trained vectors ``[U, D]`` and ``[N, D]`` on the CPU.
    seed : int
        Of the folds.

    Notes
    -----
    The graph encoder's own way, features without free part and neighbours, is never trained: an
    item's free embedding explains it as well, so features are left little to explain.
    """
    if not modalities:
        return {}
    users, items = vectors
    weight = torch.from_numpy(np.bincount(history.item_rows, minlength=len(items))).double().sqrt()
    state, z = _standardise(modalities)
    fold = torch.from_numpy(np.random.default_rng(seed).integers(0, FOLDS, len(items)))
    sums = [
        _Sums.of(z[fold == f], items[fold == f].double(), weight[fold == f]) for f in range(FOLDS)
    ]
    scores = torch.zeros(len(RIDGES))
    for f in range(FOLDS):
        left_out = torch.nonzero(fold == f).squeeze(1)[:FOLD_ITEMS]
        rest = _total(sums[:f] + sums[f + 1 :])
        made = [rest.vectors(z[left_out], w) for w in rest.maps(RIDGES)]
        scores += torch.tensor([_score(users, x, left_out, history) for x in made])
    everything = _total(sums)
    (chosen,) = everything.maps([RIDGES[int(scores.argmax())]])
    fitted = {"map": chosen, "center": everything.mean, "length": everything.length[None]}
    return state | {name: x.float().numpy() for name, x in fitted.items()}


def _standardise(
    modalities: Mapping[str, Modality],
) -> tuple[dict[str, NDArray[np.float32]], Tensor]:
    """Return the statistics of every modality, and all features standardised ``[N, F]``."""
    state, parts = {}, []
    for name in sorted(modalities):
        values, present = modalities[name].values.astype(np.float32), modalities[name].present
        known = values[present] if present.sum() > 1 else np.zeros((2, values.shape[1]), np.float32)
        # A constant column carries nothing; dividing by its zero deviation would make NaN.
        mean, std = known.mean(0), known.std(0, ddof=1).clip(1e-6)
        state[f"mean.{name}"], state[f"std.{name}"] = mean, std
        parts.append(standardised(values, present, mean, std))
    return state, torch.from_numpy(np.concatenate(parts, axis=1))


@dataclass(frozen=True)
class _Sums:
    """Weighted sums over items, of which the map of any set of folds is made."""

    weight: Tensor
    z: Tensor
    v: Tensor
    squares: Tensor
    zz: Tensor
    zv: Tensor

    @classmethod
    def of(cls, z: Tensor, v: Tensor, weight: Tensor) -> _Sums:
        zz = z.new_zeros(z.shape[1], z.shape[1], dtype=torch.float64)
        zv = z.new_zeros(z.shape[1], v.shape[1], dtype=torch.float64)
        total = z.new_zeros(z.shape[1], dtype=torch.float64)
        for begin in range(0, len(z), BLOCK):
            part = z[begin : begin + BLOCK].double()
            weighted = part * weight[begin : begin + BLOCK, None]
            zz += weighted.T @ part
            zv += weighted.T @ v[begin : begin + BLOCK]
            total += weighted.sum(0)
        return cls(weight.sum(), total, weight @ v, weight @ v.square().sum(1), zz, zv)

    @property
    def mean(self) -> Tensor:
        return self.v / self.weight.clamp_min(1e-9)

    @property
    def length(self) -> Tensor:
        """Root mean square distance of the vectors from their mean."""
        square = self.squares / self.weight.clamp_min(1e-9) - self.mean.square().sum()
        return square.clamp_min(0).sqrt()

    def maps(self, ridges: tuple[float, ...] | list[float]) -> Iterator[Tensor]:
        """Yield W ``[F, D]`` per ridge: one eigendecomposition serves all."""
        scale = self.weight.clamp_min(1e-9)
        values, basis = torch.linalg.eigh(self.zz / scale)
        target = basis.T @ ((self.zv - self.z[:, None] * self.mean) / scale)
        for ridge in ridges:
            yield basis @ (target / (values.clamp_min(0)[:, None] + ridge))

    def vectors(self, z: Tensor, chosen: Tensor) -> Tensor:
        beside = z.double() @ chosen
        length = beside.norm(dim=1, keepdim=True).clamp_min(1e-9)
        made: Tensor = self.mean + beside * (self.length / length)
        return made.float()


def _total(sums: list[_Sums]) -> _Sums:
    names = _Sums.__dataclass_fields__
    return _Sums(**{name: sum(getattr(s, name) for s in sums) for name in names})


def _score(users: Tensor, made: Tensor, left_out: Tensor, history: Histories) -> float:
    """NDCG@20 of left-out items, ranked among themselves for users who have some of them."""
    place = np.full(int(history.item_rows.max(initial=-1)) + 1, -1)
    known = left_out.numpy()
    known = known[known < len(place)]
    place[known] = np.arange(len(left_out))[: len(known)]
    column = place[history.item_rows]
    owner = np.repeat(np.arange(history.num_users, dtype=np.int32), history.lengths)
    kept = column >= 0
    relevant = Histories.of_pairs(owner[kept], column[kept].astype(np.int32), history.num_users)
    rows = spread(np.flatnonzero(relevant.lengths), FOLD_USERS)
    if len(rows) == 0:
        return 0.0
    scores = users[torch.from_numpy(rows)] @ made.T
    top = scores.topk(min(K, len(made)), dim=1).indices.numpy()
    return ndcg_at(top, relevant, rows)
