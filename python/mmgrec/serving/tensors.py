"""Tensors of the Open Inference Protocol, as JSON numbers or as raw bytes behind the JSON."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec.serving.problems import Problem

DTYPES: dict[str, str] = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP32": "<f4",
    "FP64": "<f8",
}


def from_json(name: str, datatype: str, shape: Sequence[int], data: list[Any]) -> NDArray[Any]:
    """Return a tensor whose values came as (possibly nested) lists."""
    flat = _flat(data)
    if datatype == "BYTES":
        if not all(isinstance(value, str) for value in flat):
            raise _wrong(name, "values that are no strings")
        return _shaped(name, np.array([*flat, None], object)[:-1], shape)
    try:
        whole = datatype.startswith(("INT", "UINT"))
        if whole and not all(type(value) is int for value in flat):
            raise TypeError
        return _shaped(name, np.array(flat, DTYPES[datatype]), shape)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, f"values that are no {datatype}") from None


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> NDArray[Any]:
    """Return a tensor whose values came as bytes; BYTES: each with its length before it."""
    if datatype == "BYTES":
        return _shaped(name, np.array([*_texts(name, raw), None], object)[:-1], shape)
    kind = np.dtype(DTYPES[datatype])
    if len(raw) % kind.itemsize:
        raise _wrong(name, f"{len(raw)} bytes of {datatype}")
    return _shaped(name, np.frombuffer(raw, kind), shape)


def to_bytes(datatype: str, values: NDArray[Any]) -> bytes:
    """Return a tensor's bytes."""
    if datatype != "BYTES":
        return values.astype(DTYPES[datatype]).tobytes()
    texts = [str(value).encode() for value in values.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _texts(name: str, raw: bytes) -> list[str]:
    found, at = [], 0
    try:
        while at < len(raw):
            (size,) = struct.unpack_from("<I", raw, at)
            at += 4 + size
            if at > len(raw):
                raise ValueError
            found.append(raw[at - size : at].decode())
    except (struct.error, ValueError):
        raise _wrong(name, "bytes that are no list of UTF-8 strings") from None
    return found


def _flat(data: list[Any]) -> list[Any]:
    """Flatten nested lists; depth is bounded by the JSON parser's."""
    while any(isinstance(value, list) for value in data):
        data = [
            inner for value in data for inner in (value if isinstance(value, list) else [value])
        ]
    return data


def _shaped(name: str, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    if values.size != int(np.prod(shape, dtype=object)):
        raise _wrong(name, f"{values.size} values", f"the shape {list(shape)}")
    return values.reshape(shape)


def _wrong(name: str, value: str, allowed: str | None = None) -> Problem:
    return Problem(400, f"the input {name!r} is wrong", value=value, allowed=allowed)
