"""Arrays of a trained model's state, checked by name and shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def of_shape(
    state: Mapping[str, NDArray[np.float32]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return a named array; `KeyError` where it is missing, `ValueError` where it does not fit."""
    array = state[name]
    if array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}, not {shape}")
    return array
