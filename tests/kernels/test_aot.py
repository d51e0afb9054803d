"""Ahead-of-time compilation: a real compile, the rules of the table, and the occupancy formula."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import triton

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels import aot, aot_table
from mmgrec_engine.kernels.occupancy import occupancy
from mmgrec_engine.kernels.resources import from_amdgcn, from_sass

ROW = {
    "kernel": "rq_assign",
    "config": {"dtype": "fp32", "width": 32, "top2": 0},
    "target": "sm_80",
    "warps": 4,
    "matrix_units": True,
    "registers": 160,
    "spill_bytes": 0,
    "shared_bytes": 32768,
    "mma": {"HMMA": 48},
    "resident_warps": 12,
    "occupancy": 0.1875,
    "limited_by": "registers",
}
NAME = "rq_assign [dtype=fp32 width=32 top2=0] on sm_80"


def table(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"triton": triton.__version__, "rows": list(rows)}


def wrong(row: dict[str, Any], was: dict[str, Any] = ROW) -> list[str]:
    return aot_table.violations([row], table(was))[0]


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    """One small kernel for two targets, in a process that does not interpret."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    code = (
        "import json\n"
        "from mmgrec_engine.kernels import aot\n"
        "wanted = {'dtype': 'fp32', 'width': 32, 'top2': 0}\n"
        "for target in ('sm_80', 'sm_90', 'gfx942'):\n"
        "    for c in aot._compilations('rq_assign', target):\n"
        "        if c.config == wanted:\n"
        "            print(json.dumps(aot.compile_row(c, target)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_compiled_row(compiled: list[dict[str, Any]]) -> None:
    ampere, hopper, amd = compiled
    assert ampere["mma"]["HMMA"] > 0
    assert hopper["mma"]["HGMMA"] > 0
    assert amd["mma"]["MFMA"] > 0
    for row in compiled:
        assert row["registers"] > 16
        assert row["spill_bytes"] == 0
        assert row["shared_bytes"] > 0
        assert 0 < row["occupancy"] <= 1
        assert row["blocks"][row["limited_by"]] == row["resident_warps"] // row["warps"]
        assert wrong(row, row) == []


def test_a_compiled_row_tells_its_instructions(compiled: list[dict[str, Any]]) -> None:
    for row, products in zip(compiled[:2], (3, 3), strict=True):
        assert row["mix"]["matrix"] == sum(row["mma"].values())
        assert sum(row["mix"].values()) > 500
        assert row["mix"].get("other", 0) == 0
        assert row["widths"]["global_load"]["128"] > 0
        assert sum(row["widths"]["global_load"].values()) == row["mix"]["global_load"]
        assert row["static_shared_bytes"] == 0
        assert row["products"] == products
    assert compiled[2]["products"] == 1  # AMD's matrix units take fp32 as it is


def test_the_compiled_row_is_in_the_checked_in_table(compiled: list[dict[str, Any]]) -> None:
    recorded = aot_table.read_table(aot_table.TABLE)
    known = {aot_table.key(row): row for row in recorded["rows"]}
    for row in compiled:
        assert wrong(row, known[aot_table.key(row)]) == []


def test_nothing_in_the_table_spills() -> None:
    for row in aot_table.read_table(aot_table.TABLE)["rows"]:
        assert aot_table.hard_rules(row) == []


@pytest.mark.parametrize(
    ("tampered", "message"),
    [
        ({"spill_bytes": 8}, "spills, was 0, now 8 bytes"),
        ({"mma": {}}, "matrix instructions, were expected, now none"),
        ({"resident_warps": 0}, "a block does not fit, limited by registers"),
        ({"registers": 169}, "registers, was 160, now 169"),
        ({"shared_bytes": 32769}, "shared_bytes, was 32768, now 32769"),
        ({"occupancy": 0.125}, "occupancy, was 0.1875, now 0.125"),
        ({"unsupported": "no"}, "does not compile: no"),
    ],
)
def test_each_rule_fails(tampered: dict[str, Any], message: str) -> None:
    assert f"{NAME}: {message}" in wrong({**copy.deepcopy(ROW), **tampered})


def test_what_compilers_differ_by_passes() -> None:
    assert wrong(ROW) == []
    assert wrong({**ROW, "registers": 168}) == []
    assert wrong({**ROW, "registers": 100, "occupancy": 0.25}) == []
    assert wrong({**ROW, "matrix_units": False, "mma": {}}) == []


def test_rows_that_came_or_went() -> None:
    other = {**ROW, "config": {"width": 64}}
    messages, _ = aot_table.violations([other], table(ROW))
    assert messages == [
        "rq_assign [width=64] on sm_80: was not in the table, now compiled",
        f"{NAME}: was in the table, now not compiled",
    ]
    # Rows of targets and kernels that were left out are no concern of this check.
    assert aot_table.violations([], table(ROW), targets=["sm_90"]) == ([], None)
    assert aot_table.violations([], table(ROW), names=["other"]) == ([], None)


def test_unsupported_on_gfx942_is_recorded_and_must_stay_so() -> None:
    amd = {**ROW, "target": "gfx942"}
    unsupported = {**amd, "unsupported": "reason"}
    assert wrong(unsupported, unsupported) == []
    assert wrong(unsupported, amd)[0].endswith("on gfx942: was compiled, now unsupported")
    assert wrong(amd, unsupported)[0].endswith("on gfx942: was unsupported, now compiled")


def test_another_triton_compares_hard_rules_only() -> None:
    old = {**table(ROW), "triton": "0.1"}
    changed = {**ROW, "registers": 250, "shared_bytes": 1}
    messages, note = aot_table.violations([changed], old)
    assert messages == []
    assert note is not None
    assert "0.1" in note
    assert aot_table.violations([{**changed, "spill_bytes": 4}], old)[0] != []


def test_table_round_trip_one_row_per_line(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    rows = [ROW, {**ROW, "target": "sm_90"}]
    aot_table.write_table(path, [{**row, "mix": {"fma": 1}, "products": 3} for row in rows])
    assert aot_table.read_table(path)["rows"] == rows
    assert sum("rq_assign" in line for line in path.read_text().splitlines()) == 2
    with pytest.raises(ConfigError, match="cannot be read"):
        aot_table.read_table(tmp_path / "missing.json")


def test_interpreting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(ConfigError, match="TRITON_INTERPRET is set"):
        aot.compile_report(["sm_80"])


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "resident", "limit"),
    [
        # From the CUDA occupancy calculator.
        ("sm_80", 32, 0, 8, 64, "registers"),  # 65,536 / (32 x 32) = 64 warps: all there are
        ("sm_80", 64, 0, 8, 32, "registers"),
        ("sm_80", 65, 0, 8, 24, "registers"),  # 72 after rounding to 256 per warp: 28 warps
        ("sm_80", 128, 0, 4, 16, "registers"),
        ("sm_80", 255, 0, 8, 8, "registers"),
        ("sm_80", 255, 0, 16, 0, "registers"),
        ("sm_80", 32, 48 * 1024, 4, 12, "shared memory"),  # 164 / 49
        ("sm_90", 32, 48 * 1024, 4, 16, "shared memory"),  # 228 / 49
        ("sm_90", 32, 227 * 1024, 4, 4, "shared memory"),
        ("sm_90", 32, 227 * 1024 + 1, 4, 0, "shared memory"),
        ("sm_100", 16, 0, 1, 32, "blocks"),
        ("sm_90", 16, 0, 16, 64, "warps"),
        # CDNA3: 512 / 128 = 4 waves on each of four SIMDs.
        ("gfx942", 128, 0, 4, 16, "registers"),
        ("gfx942", 129, 0, 4, 12, "registers"),
        ("gfx942", 512, 0, 4, 4, "registers"),
        ("gfx942", 64, 32768, 4, 8, "shared memory"),
    ],
)
def test_occupancy(
    target: str, registers: int, shared: int, warps: int, resident: int, limit: str
) -> None:
    found = occupancy(target, registers, shared, warps)
    assert (found.resident, found.limit) == (resident, limit)
    assert found.blocks[found.limit] * warps == resident


def test_every_resource_says_how_many_blocks_it_lets_in() -> None:
    found = occupancy("sm_90", 128, 48 * 1024, 4)
    assert found.blocks == {"registers": 4, "shared memory": 4, "warps": 16, "blocks": 32}


def test_unknown_target() -> None:
    with pytest.raises(ConfigError, match="sm_70"):
        occupancy("sm_70", 32, 0, 4)


def test_reading_machine_code() -> None:
    usage = " Function kernel:\n  REG:96 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:616"
    lines = ("HFMA2.MMA R5, -RZ, RZ, 0, 0", "HMMA.1688 R4", "STL [R1], R2", "LDL R2, [R1]")
    sass = "".join(f"/*{n:04x}*/ {line} ;\n" for n, line in enumerate((*lines, "UTCHMMA gdesc")))
    found = from_sass(usage, sass)
    assert (found.registers, found.spill_bytes) == (96, 16)
    assert found.matrix == {"HMMA": 1, "UTCHMMA": 1}
    assembly = ".vgpr_count: 300\n.vgpr_spill_count: 2\n.sgpr_spill_count: 1\n v_mfma_f32_16x16 v0"
    amd = from_amdgcn(assembly)
    assert (amd.registers, amd.spill_bytes, amd.matrix) == (300, 12, {"MFMA": 1})


def test_the_command_line_checks(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "mmgrec_engine.kernels.aot", "--kernels", "rq_table"]
    command += ["--targets", "sm_80", "--json"]
    good = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    rows = json.loads(good.stdout)["kernels"]
    assert {row["kernel"] for row in rows} == {"rq_table"}
    tampered = tmp_path / "table.json"
    aot_table.write_table(tampered, [{**row, "shared_bytes": 0} for row in rows])
    bad = subprocess.run(
        [*command, "--check", str(tampered)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 1
    assert "on sm_80: shared_bytes, was 0, now" in bad.stderr
    interpreting = subprocess.run(
        command,
        env={**environment, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert interpreting.returncode == 2
    assert "unset TRITON_INTERPRET" in interpreting.stderr
