"""The picture of the rooms shows what imports what now."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def drawing() -> ModuleType:
    path = ROOT / "docs/draw_architecture.py"
    spec = importlib.util.spec_from_file_location("draw_architecture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The dataclasses of a module look it up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date() -> None:
    module = drawing()
    committed = module.PICTURE.read_text(encoding="utf-8")
    assert module.draw() == committed, "run: python docs/draw_architecture.py"


def test_an_arrow_that_follows_from_two_others_is_left_out() -> None:
    used = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert drawing().essential(used) == [("a", "b"), ("b", "c")]
