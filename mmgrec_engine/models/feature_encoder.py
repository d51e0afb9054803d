"""The trained graph encoder at work on later items: features to item vectors.

Shapes: n items, D item-vector width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.edited_items import checked_vectors
from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.config import TokenizerConfig
from mmgrec_engine.models.graph_ensemble import GraphEnsemble

Vectors = NDArray[np.float32]
Features = Mapping[str, NDArray[np.floating[Any]]]
Present = Mapping[str, NDArray[np.bool_]]


class FeatureEncoder:
    """The features-only path of an artifact's graph encoder.

    Parameters
    ----------
    config : TokenizerConfig
        Shapes.
    graph : mapping
        State of the `GraphEnsemble`. `RuntimeError` or `KeyError` where it does not fit.
    """

    def __init__(self, config: TokenizerConfig, graph: Mapping[str, Tensor]) -> None:
        self.config = config
        # Of the free embeddings only their mean is used; the tables need not be kept.
        state = dict(graph)
        for member in range(config.graph.members):
            free, users = f"members.{member}.item_free", f"members.{member}.user_free"
            state[free] = state[free].mean(0, keepdim=True)
            state[users] = state[users][:0]
        self._graph = GraphEnsemble.untrained(config.graph, 1, config.modalities)
        self._graph.load_state_dict(state)
        self._graph.eval().requires_grad_(False)

    def vectors(self, features: Features, present: Present | None, count: int) -> Vectors:
        """Return item vectors ``[n, D]`` of features.

        Parameters
        ----------
        features : mapping
            Modality name to ``[n, width]``. All items lack a modality that is not named.
        present : mapping, optional
            Modality name to ``[n]`` bool: which items have it; by default all.
        count : int
            n.

        Raises
        ------
        RequestError
            An unknown modality, a wrong shape, a feature that is not finite, or the model uses no
            features.
        """
        if not self._graph.uses_features:
            raise RequestError(
                "this model was trained without features",
                value=", ".join(features) or "no features",
                remedy="give vectors instead",
            )
        known, widths = set(self.config.modalities), self.config.modalities
        for name in {*features, *(present or {})} - known:
            raise RequestError(
                "unknown modality", value=repr(name), allowed=", ".join(sorted(known))
            )
        masks = {name: _mask(name, features, present, count) for name in widths}
        values = {
            name: _values(name, features, masks[name], (count, width))
            for name, width in widths.items()
        }
        with torch.no_grad():
            made = self._graph.encode_new(
                values, masks, count, unit_vectors=self.config.unit_vectors
            )
            return made.numpy()


def _mask(name: str, features: Features, present: Present | None, count: int) -> Tensor:
    if name not in features:
        return torch.zeros(count, dtype=torch.bool)
    if present is None or name not in present:
        return torch.ones(count, dtype=torch.bool)
    mask = np.asarray(present[name])
    if mask.shape != (count,) or mask.dtype != np.bool_:
        raise RequestError(
            f"present[{name!r}] is no mask",
            value=f"{mask.dtype} {mask.shape}",
            allowed=f"bool ({count},)",
        )
    return torch.from_numpy(mask.copy())


def _values(name: str, features: Features, mask: Tensor, shape: tuple[int, int]) -> Tensor:
    if name not in features:
        return torch.zeros(shape)
    what = f"features[{name!r}]"
    return torch.from_numpy(checked_vectors(what, features[name], shape, mask.numpy()))
