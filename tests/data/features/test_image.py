"""Image features."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmgrec.data.features.image import PACKAGES, WIDTH, image_features
from mmgrec_engine.errors import ConfigError, DataError

INSTALLED = all(importlib.util.find_spec(name) is not None for name in PACKAGES)
needs_extra = pytest.mark.skipif(not INSTALLED, reason="the extra 'image' is not installed")


@pytest.mark.skipif(INSTALLED, reason="the extra 'image' is installed")
def test_without_the_packages_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mmgrec-engine\[image\]"):
        image_features(tmp_path, [1])


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    from PIL import Image

    Image.new("RGB", (40, 60), colour).save(path)


@needs_extra
def test_images_by_item_id(tmp_path: Path) -> None:
    for name, colour in (("7.png", (200, 0, 0)), ("9.jpg", (0, 0, 200)), ("x.jpg", (0, 0, 0))):
        paint(tmp_path / name, colour)
    made = image_features(tmp_path, [7, 8, 9])
    assert made.present.tolist() == [True, False, True]
    assert made.values.shape == (3, WIDTH)
    assert np.isfinite(made.values).all()
    assert not np.allclose(made.values[0], made.values[2])


@needs_extra
def test_unreadable_and_absent_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image of any item"):
        image_features(tmp_path, ["a"])
    with pytest.raises(DataError, match="none is not a folder"):
        image_features(tmp_path / "none", ["a"])
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.jpg is not a readable image"):
        image_features(tmp_path, ["a"])
