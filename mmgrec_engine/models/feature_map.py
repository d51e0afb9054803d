"""Item vectors of later items from their features alone, without torch.

Shapes: n items, F features of all modalities side by side, D item-vector width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.edited_items import checked_vectors
from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.state_arrays import of_shape

CLIP = 5.0
"""Standard deviations beyond which a feature is an outlier, not evidence."""

Vectors = NDArray[np.float32]
Features = Mapping[str, NDArray[np.floating[Any]]]
Present = Mapping[str, NDArray[np.bool_]]


class FeatureMap:
    """A linear map from features to the space of the trained item vectors.

    ::

        z = columns of every modality standardised, outliers clipped, 0 where an item lacks it
        v = center + z map, stretched so that |v - center| is ``length``

    ``length`` is how far trained vectors lie from their mean: a map that explains little would
    otherwise put all new items there. `mmgrec.training.new_items` fits it.

    Parameters
    ----------
    modalities : mapping
        Modality to feature width; empty where the model was trained without.
    state : mapping
        "mean.NAME" and "std.NAME" ``[width]``, "map" ``[F, D]`` (modalities in alphabetic order),
        "center" ``[D]``, "length" ``[1]``.

    Raises
    ------
    KeyError, ValueError
        An array is missing, or has another shape.
    """

    def __init__(self, modalities: Mapping[str, int], state: Mapping[str, Vectors]) -> None:
        self.modalities = dict(modalities)
        if not modalities:
            return
        self._statistics = {
            name: (
                of_shape(state, f"mean.{name}", (width,)),
                of_shape(state, f"std.{name}", (width,)),
            )
            for name, width in modalities.items()
        }
        self._center = state["center"]
        shape = (sum(modalities.values()), len(self._center))
        self._map = of_shape(state, "map", shape)
        self._length = of_shape(state, "length", (1,))

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
        if not self.modalities:
            raise RequestError(
                "this model was trained without features",
                value=", ".join(features) or "no features",
                remedy="give vectors instead",
            )
        for name in {*features, *(present or {})} - self.modalities.keys():
            raise RequestError(
                "unknown modality", value=repr(name), allowed=", ".join(sorted(self.modalities))
            )
        parts = [
            standardised(
                self._values(name, features, mask := _mask(name, features, present, count)),
                mask,
                *self._statistics[name],
            )
            for name in sorted(self.modalities)
        ]
        beside = np.concatenate(parts, axis=1) @ self._map
        distance = np.linalg.norm(beside, axis=1, keepdims=True).clip(1e-9)
        made: Vectors = self._center + beside * (self._length / distance)
        return made

    def _values(self, name: str, features: Features, mask: NDArray[np.bool_]) -> Vectors:
        shape = (len(mask), self.modalities[name])
        if name not in features:
            return np.zeros(shape, np.float32)
        return checked_vectors(f"features[{name!r}]", features[name], shape, mask)


def standardised(values: Vectors, mask: NDArray[np.bool_], mean: Vectors, std: Vectors) -> Vectors:
    """Return ``values`` ``[n, width]`` in standard deviations from the mean; 0 where masked out."""
    z: Vectors = np.where(mask[:, None], ((values - mean) / std).clip(-CLIP, CLIP), 0)
    return z.astype(np.float32, copy=False)


def _mask(name: str, features: Features, present: Present | None, count: int) -> NDArray[np.bool_]:
    if name not in features:
        return np.zeros(count, np.bool_)
    if present is None or name not in present:
        return np.ones(count, np.bool_)
    mask = np.asarray(present[name])
    if mask.shape != (count,) or mask.dtype != np.bool_:
        raise RequestError(
            f"present[{name!r}] is no mask",
            value=f"{mask.dtype} {mask.shape}",
            allowed=f"bool ({count},)",
        )
    return mask
