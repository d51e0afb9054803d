"""Rec-IDs of items that come later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.errors import EditError
from mmgrec_engine.rec_ids.placement import place_new_items

SIZES = [4, 4, 3]


def test_the_smallest_free_token_then_the_next_codeword(tmp_path: Path) -> None:
    codes = np.array([[1, 2, 0], [1, 2, 2], [0, 0, 0]])
    with LiveCatalog.create(tmp_path / "c", codes, SIZES) as catalog:
        new = np.array([[1, 2], [1, 2], [3, 3], [3, 3]])
        choices = np.array([[2, 0], [2, 0], [3, 1], [3, 1]])
        placed = place_new_items(catalog.snapshot(), new, choices)
        # (1, 2) has one place left; the second newcomer goes to its next codeword, 0.
        assert placed.tolist() == [[1, 2, 1], [1, 0, 0], [3, 3, 0], [3, 3, 1]]
        catalog.insert(placed, [10, 11, 12, 13])
        catalog.delete(np.array([[1, 2, 0]]))
        again = place_new_items(catalog.snapshot(), new[:1], choices[:1])
        assert again.tolist() == [[1, 2, 0]]  # what a deleted item leaves is free


def test_full_groups_are_an_error(tmp_path: Path) -> None:
    codes = np.array([[1, 2, 0], [1, 2, 1], [1, 2, 2]])
    with (
        LiveCatalog.create(tmp_path / "c", codes, SIZES) as catalog,
        pytest.raises(EditError, match="new item 0 finds no free Rec-ID"),
    ):
        place_new_items(catalog.snapshot(), np.array([[1, 2]]), np.array([[2]]))
