"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

HUMAN = Console(stderr=True)
"""Progress, tables and messages while a command works."""


def print_json(value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Print one JSON value on standard output."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(table: Any) -> None:  # noqa: ANN401 - any rich renderable
    """Print a result for people on standard output."""
    Console().print(table)
