"""Writers for the files inside a folder (see `artifact.write_folder`): bytes first, then one write.

Serialising to memory and writing once keeps every failure an `OSError` that names the cause, which
the libraries' own file writers do not all give.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file as _load_arrays
from safetensors.numpy import save as _save_arrays

from mmgrec_engine.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from mmgrec_engine.artifact import Writer

Array = np.ndarray[Any, Any]


def write_bytes(content: bytes) -> Writer:
    """Return a writer of these bytes."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def write_json(value: object) -> Writer:
    """Return a writer of ``value`` as indented JSON."""
    return write_bytes((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_table(table: pl.DataFrame) -> Writer:
    """Return a writer of a table as Parquet (zstd)."""

    def write(path: Path) -> None:
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        path.write_bytes(buffer.getvalue())

    return write


def write_arrays(arrays: Mapping[str, Array]) -> Writer:
    """Return a writer of named arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    return lambda path: write_bytes(_save_arrays(contiguous))(path)


def write_tensors(tensors: Mapping[str, torch.Tensor]) -> Writer:
    """Return a writer of named CPU or device tensors as safetensors."""
    return write_arrays({name: t.detach().cpu().numpy() for name, t in tensors.items()})


def read_arrays(path: Path) -> dict[str, Array]:
    """Read a safetensors file into NumPy arrays."""
    try:
        return dict(_load_arrays(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not a readable safetensors file",
            value=error,
            remedy="restore it from a copy, or write the folder again",
        ) from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file into torch tensors."""
    import torch  # deferred: arrays are read on torch-free paths too

    return {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
