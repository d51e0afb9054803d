"""The trained tokeniser at work on later items: features to item vectors, vectors to codes.

Shapes: n items, D item-vector width, S semantic levels, K codewords of a level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.graph_encoder import GraphEncoder, GraphEncoderConfig
from mmgrec_engine.models.rqvae import RQVAE, RQVAEConfig
from mmgrec_engine.ops.backends import choose

Features = Mapping[str, NDArray[np.floating[Any]]]
Present = Mapping[str, NDArray[np.bool_]]


class TokenizerConfig(BaseModel):
    """What rebuilds the two models. ``unit_vectors``: item vectors were scaled to length 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: GraphEncoderConfig
    quantizer: RQVAEConfig
    modalities: dict[str, int]
    unit_vectors: bool


class ItemTokenizer:
    """Graph encoder (features-only path) and residual quantiser of an artifact.

    Parameters
    ----------
    config : TokenizerConfig
        Shapes.
    graph, quantizer : mapping
        States of the two models. `RuntimeError` or `KeyError` where they do not fit.
    """

    def __init__(
        self, config: TokenizerConfig, graph: Mapping[str, Tensor], quantizer: Mapping[str, Tensor]
    ) -> None:
        self.config = config
        # Of the free embeddings only their mean is used; the tables need not be kept.
        state = dict(graph)
        state["item_free"] = state["item_free"].mean(0, keepdim=True)
        state["user_free"] = state["user_free"][:0]
        self._graph = GraphEncoder(config.graph, 0, 1, config.modalities)
        self._graph.load_state_dict(state)
        self._graph.eval().requires_grad_(False)
        self._quantizer = RQVAE(config.quantizer, config.graph.width)
        self._quantizer.load_state_dict(quantizer)
        self._quantizer.eval().requires_grad_(False)
        self._quantizer.backend = choose("rq_assign")

    def vectors(self, features: Features, present: Present | None, count: int) -> Tensor:
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
        if self._graph.fusion is None:
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
            made: Tensor = self._graph.encode_new(values, masks, count)
            return F.normalize(made, dim=1) if self.config.unit_vectors else made

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the semantic codes of item vectors ``[n, D]``, and what else the last could be.

        Returns
        -------
        codes : array
            ``[n, S]``.
        last_choices : array
            ``[n, K]`` codewords of the last level, nearest to the residual first; the first is the
            item's own.
        """
        codes = self._quantizer.codes(vectors)
        residual = self._quantizer.encoder(vectors)
        for level, codebook in enumerate(self._quantizer.codebooks[:-1]):
            residual = residual - codebook[codes[:, level]]
        exact = "donot_use_mm_for_euclid_dist"  # the same whatever else is in the batch
        distance = torch.cdist(residual, self._quantizer.codebooks[-1], compute_mode=exact)
        distance.scatter_(1, codes[:, -1:], -1.0)  # first, whatever the rounding
        return codes.numpy(), distance.argsort(dim=1, stable=True).numpy()


def check_vectors(vectors: NDArray[np.floating[Any]], shape: tuple[int, int]) -> Tensor:
    """Return given item vectors ``[n, D]`` as a tensor.

    Raises
    ------
    RequestError
        Another shape, or not finite.
    """
    return _finite("vectors", vectors, np.ones(shape[0], bool), shape)


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
    return _finite(f"features[{name!r}]", features[name], mask.numpy(), shape)


def _finite(
    what: str,
    values: NDArray[np.floating[Any]] | Sequence[Sequence[float]],
    mask: NDArray[np.bool_],
    shape: tuple[int, int],
) -> Tensor:
    """Convert; rows outside the mask become 0, so that what they hold cannot spread."""
    try:
        array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{what} is no matrix of numbers", value=error) from None
    if array.shape != shape:
        raise RequestError(
            f"{what} has another shape than the items and the model need",
            value=array.shape,
            allowed=str(shape),
        )
    array[~mask] = 0
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise RequestError(
            f"{what} holds NaN or infinity",
            value=f"row {int(bad.argmax())}",
            allowed="finite numbers; rows of items that lack it are masked by `present`",
        )
    return torch.from_numpy(array)
