"""What a live catalogue's journal keeps of an item beside its Rec-ID: id, columns, vector."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.errors import ArtifactError, EditError

MAGIC = b"mmi1"  # the 1 is the version


@dataclass(frozen=True, eq=False)
class ItemPayload:
    """One item. ``id`` external; ``vector`` ``[D]`` float32; ``columns`` of the items table."""

    id: Hashable
    vector: NDArray[np.float32]
    columns: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Encode.

        ::

            "mmi1", length of the header (uint32), header {"id", "columns"} as JSON,
            then the vector, float32 little-endian

        Raises
        ------
        EditError
            A column holds what JSON does not.
        """
        try:
            text = json.dumps({"id": self.id, "columns": dict(self.columns)}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise EditError(
                f"the columns of item {self.id!r} cannot be stored",
                value=error,
                allowed="strings, finite numbers, booleans, None and lists of them",
            ) from None
        header = text.encode()
        length = len(header).to_bytes(4, "little")
        return MAGIC + length + header + self.vector.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes, width: int) -> ItemPayload:
        """Decode an item with a vector of this width.

        Raises
        ------
        ArtifactError
            It is damaged, of another version or of another width.
        """
        try:
            if content[:4] != MAGIC:
                raise ValueError(f"it begins with {content[:4]!r}")
            end = 8 + int.from_bytes(content[4:8], "little")
            header = json.loads(content[8:end])
            vector = np.frombuffer(content[end:], "<f4").astype(np.float32)
            if len(vector) != width or not isinstance(header["id"], int | str):
                raise ValueError(f"a vector of width {len(vector)}, id {header['id']!r}")
            return cls(header["id"], vector, dict(header["columns"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                "an item of the live catalogue cannot be read",
                value=error,
                allowed=f"an item of version 1 with a vector of width {width}",
                remedy="restore the catalogue's folder from a copy",
            ) from None
