"""Is a wheel small, and does it need nothing but the C and C++ runtime? `check_wheel.py WHEEL...`.

Needs auditwheel. A wheel that brings or needs other shared libraries has no manylinux tag.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

WHEEL_MB, INSTALLED_MB = 1.5, 4.0
"""Limits; docs/wheels.md states what it is."""


def sizes(wheel: Path) -> tuple[float, float]:
    """Return the megabytes of the file, and of the files in it."""
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    return wheel.stat().st_size / 1e6, unpacked / 1e6


def too_large(wheel: Path) -> list[str]:
    """Return what is wrong with the sizes."""
    limits = zip(("the wheel", "installed"), sizes(wheel), (WHEEL_MB, INSTALLED_MB), strict=True)
    return [
        f"{what}: {size:.2f} MB, allowed are {limit} MB"
        for what, size, limit in limits
        if size > limit
    ]


def platform_tag(report: str) -> str | None:
    """Return the manylinux tag in auditwheel's report; None where it grants none."""
    found = re.search(r'platform tag:\s+"(manylinux_\w+)"', report)
    return None if found is None else found[1]


def main(wheels: list[str]) -> int:
    """Check and print; 1 where something is wrong."""
    wrong = []
    for name in wheels:
        show = [sys.executable, "-m", "auditwheel", "show", name]
        report = subprocess.run(show, capture_output=True, text=True, check=True).stdout
        tag = platform_tag(report)
        packed, unpacked = sizes(Path(name))
        print(f"{Path(name).name}: {packed:.2f} MB, installed {unpacked:.2f} MB, {tag}")
        wrong += too_large(Path(name))
        if tag is None:
            wrong.append(f"no manylinux tag:\n{report}")
    print(*wrong, sep="\n", end="")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
