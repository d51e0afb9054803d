"""What the journal keeps of an item: there and back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec_engine.catalog.item_payload import ItemPayload
from mmgrec_engine.errors import ArtifactError, EditError

VECTOR = np.array([1.5, -2.0, 0.1], np.float32)


@pytest.mark.parametrize("name", [7, "ä id", -(2**40)])
def test_there_and_back(name: int | str) -> None:
    columns = {"title": "Ü", "year": None, "tags": ["a", "b"]}
    found = ItemPayload.from_bytes(ItemPayload(name, VECTOR, columns).to_bytes(), 3)
    assert found.id == name
    assert type(found.id) is type(name)
    assert found.columns == columns
    assert found.vector.tolist() == VECTOR.tolist()


def test_damage_is_named() -> None:
    content = ItemPayload("a", VECTOR).to_bytes()
    for damaged in (b"", content[:6], content[:-1], content[:-4], b"mmi2" + content[4:]):
        with pytest.raises(ArtifactError, match="cannot be read"):
            ItemPayload.from_bytes(damaged, 3)
    header = b'{"id": null, "columns": {}}'
    odd = b"mmi1" + len(header).to_bytes(4, "little") + header + VECTOR.tobytes()
    with pytest.raises(ArtifactError, match="cannot be read"):
        ItemPayload.from_bytes(odd, 3)


def test_what_json_does_not_hold_is_refused() -> None:
    for value in (b"bytes", float("nan"), {1, 2}):
        with pytest.raises(EditError, match="cannot be stored"):
            ItemPayload("a", VECTOR, {"x": value}).to_bytes()
