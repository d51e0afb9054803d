"""What the JSON of a session says of its machine."""

from __future__ import annotations

from typing import Any

from bench_shared import roof
from mmgrec.profiling.environment import machine, versions


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:  # noqa: ANN401
    """Add processor, versions and measured roofs, as the reports of `mmgrec bench` have them."""
    machine_info["mmgrec"] = {
        "machine": machine(),
        "versions": versions(),
        "roof": roof().as_json(),
    }
