"""The checked-in table of what compiled kernels take, and what counts as getting worse.

::

    always:                  no spill; matrix instructions where expected; a block fits
    same compiler as table:  same rows; registers <= table + 8; same shared memory;
                             occupancy not lower; still (un)supported
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels.occupancy import occupancy
from mmgrec_engine.kernels.resources import Resources, tool_version

TABLE = Path(__file__).with_name("resources.json")
TRITON = {"triton": triton.__version__}
MORE_REGISTERS = 8  # what another build of ptxas may differ by; shared memory is ours, to the byte

Row = dict[str, Any]

NOT_RECORDED = ("static_shared_bytes", "blocks", "mix", "widths", "products")
"""What a row says beyond the table: it is for `mmgrec profile --kernels`, and nothing to guard."""


def resource_row(about: Row, took: Resources, shared: int) -> Row:
    """Complete what is known of a kernel by what its machine code takes and how it fits.

    Parameters
    ----------
    about : dict
        ``kernel``, ``config``, ``target``, ``warps``, ``matrix_units``.
    took : Resources
        Read from the machine code.
    shared : int
        Bytes of shared memory that a launch asks for.
    """
    filled = occupancy(about["target"], took.registers, shared + took.static_shared, about["warps"])
    return {
        **about,
        "registers": took.registers,
        "spill_bytes": took.spill_bytes,
        "shared_bytes": shared,
        "static_shared_bytes": took.static_shared,
        "mma": took.matrix,
        "resident_warps": filled.resident,
        "occupancy": filled.share,
        "limited_by": filled.limit,
        "blocks": dict(filled.blocks),
        "mix": took.mix,
        "widths": took.widths,
    }


def key(row: Row) -> tuple[str, str, str]:
    """Identify a row by target, kernel and configuration."""
    return row["target"], row["kernel"], json.dumps(row["config"])


def _name(row: Row) -> str:
    config = " ".join(f"{name}={value}" for name, value in row["config"].items())
    return f"{row['kernel']} [{config}] on {row['target']}"


def hard_rules(row: Row) -> list[str]:
    """Say what is wrong whatever the compiler's version."""
    if "unsupported" in row:
        # An NVIDIA target that does not compile is a defect; gfx942 is "where Triton allows".
        broken = row["target"] != "gfx942"
        return [f"{_name(row)}: does not compile: {row['unsupported']}"] if broken else []
    wrong = []
    if row["spill_bytes"] > 0:
        wrong.append(f"{_name(row)}: spills, was 0, now {row['spill_bytes']} bytes")
    if row["matrix_units"] and not row["mma"]:
        wrong.append(f"{_name(row)}: matrix instructions, were expected, now none")
    if row["resident_warps"] == 0:
        wrong.append(f"{_name(row)}: a block does not fit, limited by {row['limited_by']}")
    return wrong


def changes(row: Row, was: Row) -> list[str]:
    """Say what is worse than in the table, or not as it was."""
    if ("unsupported" in row) != ("unsupported" in was):
        before, now = ("unsupported" if "unsupported" in r else "compiled" for r in (was, row))
        return [f"{_name(row)}: was {before}, now {now}"]
    if "unsupported" in row:
        return []
    wrong = []
    for field, worse in (
        ("registers", row["registers"] > was["registers"] + MORE_REGISTERS),
        ("shared_bytes", row["shared_bytes"] != was["shared_bytes"]),
        ("occupancy", row["occupancy"] < was["occupancy"]),
    ):
        if worse:
            wrong.append(f"{_name(row)}: {field}, was {was[field]}, now {row[field]}")
    return wrong


def violations(
    rows: Sequence[Row],
    table: dict[str, Any],
    targets: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    compiler: Mapping[str, str] = TRITON,
) -> tuple[list[str], str | None]:
    """Compare compiled rows with the table.

    ::

        wrong = hard rules of every row
        if the table is of this compiler:  wrong += rows that came, went, or got worse

    Parameters
    ----------
    rows : sequence of dict
        From ``compile_report``.
    table : dict
        From :func:`read_table`.
    targets, names : sequence of str, optional
        What was compiled, if not everything: other rows of the table are left alone.
    compiler : mapping
        Name and version of what compiled the rows.

    Returns
    -------
    wrong : list of str
        One message per violation: kernel, configuration, target, was and now.
    note : str or None
        Why only the hard rules were applied.
    """
    wrong = [message for row in rows for message in hard_rules(row)]
    (name, version), *_ = compiler.items()
    if table[name] != version:
        return wrong, (
            f"the table is of {name} {table[name]}, this is {version}: only spills, "
            "matrix units and fit were compared"
        )
    known = {
        key(row): row
        for row in table["rows"]
        if (targets is None or row["target"] in targets)
        and (names is None or row["kernel"] in names)
    }
    compiled = {key(row): row for row in rows}
    for place, row in compiled.items():
        was = known.get(place)
        wrong += changes(row, was) if was else [f"{_name(row)}: was not in the table, now compiled"]
    gone = [row for place, row in known.items() if place not in compiled]
    wrong += [f"{_name(row)}: was in the table, now not compiled" for row in gone]
    return wrong, None


def compiler_versions() -> dict[str, str]:
    """Versions of Triton and of what it assembles with."""
    return {
        **TRITON,
        "ptxas": tool_version("ptxas"),
        "ptxas_blackwell": tool_version("ptxas-blackwell"),
    }


def write_table(path: Path, rows: Sequence[Row], compiler: Mapping[str, str] | None = None) -> None:
    """Write the table, one row per line, so that a change reads well as a diff."""
    head = compiler or compiler_versions()
    kept = ({k: v for k, v in row.items() if k not in NOT_RECORDED} for row in rows)
    lines = ",\n".join(json.dumps(row) for row in sorted(kept, key=key))
    opening = json.dumps(dict(head), indent=1).rstrip("\n}")
    path.write_text(f'{opening},\n "rows": [\n{lines}\n ]\n}}\n')


def read_table(path: Path) -> dict[str, Any]:
    """Read the table that :func:`write_table` wrote."""
    try:
        table: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            "the table of kernel resources cannot be read",
            value=f"{path}: {error}",
            remedy="write it with --write",
        ) from error
    return table
