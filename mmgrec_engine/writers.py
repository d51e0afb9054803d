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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as _load_arrays
from safetensors.numpy import save as _save_arrays

from mmgrec_engine.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from mmgrec_engine.artifact import Writer

Array = np.ndarray[Any, Any]
_DTYPES = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "?",
}


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
        raise _unreadable(path, error) from error


def map_arrays(path: Path) -> dict[str, Array]:
    """Map a safetensors file into memory: read-only arrays, one copy for all processes.

    ::

        8 bytes: length n of the header;  n bytes: JSON, name to dtype, shape and place;  the data

    The file must not be changed in place while the arrays live; replacing it by another is fine.
    """
    try:
        with safe_open(path, "numpy") as checked:  # its header fits its size
            names = list(checked.keys())
        content = np.memmap(path, np.uint8, "r")
        begin = 8 + int(content[:8].view("<u8")[0])
        header = json.loads(bytes(content[8:begin]))
        return {name: _mapped(content[begin:], header[name]) for name in names}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _mapped(data: Array, entry: Mapping[str, Any]) -> Array:
    first, last = entry["data_offsets"]
    return np.asarray(data[first:last]).view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file into torch tensors."""
    import torch  # deferred: arrays are read on torch-free paths too

    return {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a readable safetensors file",
        value=error,
        remedy="restore it from a copy, or write the folder again",
    )
