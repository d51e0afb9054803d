"""The trained quantiser at work on later items: item vectors to codes, without torch.

Shapes: n items, D item-vector width, S semantic levels, K codewords of a level.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.config import RQVAEConfig
from mmgrec_engine.models.state_arrays import of_shape
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.settings import num_threads

Vectors = NDArray[np.float32]


class ItemQuantizer:
    """What `models.rqvae.RQVAE` does with a vector once it is trained.

    Parameters
    ----------
    config : RQVAEConfig
        Shape.
    state : mapping
        Arrays of its ``state_dict``: "codebooks" and, where it learns, the encoder's two layers.
    width : int
        D.

    Raises
    ------
    KeyError, ValueError
        An array is missing, or has another shape.
    """

    def __init__(self, config: RQVAEConfig, state: Mapping[str, Vectors], width: int) -> None:
        self._layers: list[tuple[Vectors, Vectors]] = []
        latent = width
        if config.method == "rqvae":
            latent = config.latent
            sizes = [(config.hidden, width), (latent, config.hidden)]
            for name, size in zip(("encoder.0", "encoder.2"), sizes, strict=True):
                bias = of_shape(state, f"{name}.bias", size[:1])
                self._layers.append((of_shape(state, f"{name}.weight", size), bias))
        shape = (config.semantic_levels, config.codebook_size, latent)
        self._codebooks = of_shape(state, "codebooks", shape)

    def codes(self, vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the semantic codes of item vectors ``[n, D]``, and what else the last could be.

        Returns
        -------
        codes : array
            ``[n, S]``.
        last_choices : array
            ``[n, K]`` codewords of the last level, nearest to the residual first; the first is the
            item's own.

        Raises
        ------
        RequestError
            A vector is so long that its squared length is no finite number.
        """
        residual = np.ascontiguousarray(self._encoded(vectors))
        count, levels = len(residual), len(self._codebooks)
        codes, norms = np.empty((count, levels), np.int64), np.empty(count, np.float32)
        with named_errors("rq_assign"):
            _native.rq_assign(residual, self._codebooks, codes, norms, None, num_threads())
        if not np.isfinite(norms).all():
            raise RequestError(
                "a vector is too long for any Rec-ID",
                value=f"row {int(np.isfinite(norms).argmin())}",
                allowed="vectors like those of the model's items",
            )
        for level, codebook in enumerate(self._codebooks[:-1]):
            residual = residual - codebook[codes[:, level]]
        choices = np.empty((count, self._codebooks.shape[1]), np.int64)
        for row in range(count):  # one by one: the same whatever else is in the batch
            distance = np.square(self._codebooks[-1] - residual[row]).sum(1)
            distance[codes[row, -1]] = -1.0  # first, whatever the rounding
            choices[row] = np.argsort(distance, kind="stable")
        return codes, choices

    def _encoded(self, vectors: Vectors) -> Vectors:
        if not self._layers:
            return vectors
        (first, first_bias), (last, last_bias) = self._layers
        hidden = np.maximum(vectors @ first.T + first_bias, 0)
        encoded: Vectors = hidden @ last.T + last_bias
        return encoded
