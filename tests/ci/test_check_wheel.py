"""The gate refuses a wheel that has grown, or that needs libraries of its own."""

from __future__ import annotations

import os
import runpy
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECK = runpy.run_path(str(ROOT / ".ci/check_wheel.py"))


def wheel_of(folder: Path, compressible: int, random: int) -> Path:
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(compressible))
        archive.writestr("noise", os.urandom(random))
    return path


def test_a_small_wheel_passes(tmp_path: Path) -> None:
    assert CHECK["too_large"](wheel_of(tmp_path, 10_000, 10_000)) == []


def test_what_is_large_when_packed_and_when_installed_is_told_apart(tmp_path: Path) -> None:
    (installed,) = CHECK["too_large"](wheel_of(tmp_path, 5_000_000, 0))
    assert installed == "installed: 5.00 MB, allowed are 4.0 MB"
    packed, installed = CHECK["too_large"](wheel_of(tmp_path, 3_000_000, 2_000_000))
    assert packed.startswith("the wheel: 2.0")


def test_only_a_manylinux_tag_counts() -> None:
    tag = CHECK["platform_tag"]
    assert tag('the following\nplatform tag: "manylinux_2_35_x86_64".') == "manylinux_2_35_x86_64"
    assert tag('the following platform tag: "linux_x86_64".') is None
