"""The report on CUDA kernels: the checked-in table, a real compile, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels import aot_table, cuda_resources
from mmgrec_engine.kernels.resources import Resources

TREE = Path(__file__).parents[2]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the path")


def test_nothing_in_the_table_spills_and_every_shape_is_there() -> None:
    table = aot_table.read_table(TREE / cuda_resources.TABLE)
    for row in table["rows"]:
        assert aot_table.hard_rules(row) == []
    found = {(row["target"], *row["config"].values()) for row in table["rows"]}
    expected = {
        (t, *shape) for t in ("sm_80", "sm_90", "sm_100") for shape in cuda_resources.SHAPES
    }
    assert found == expected


def test_rows_follow_the_shape_of_a_block() -> None:
    rows = cuda_resources.rows_of("sm_90", Resources(64, 0, {}))
    assert {row["resident_warps"] for row in rows[:3]} == {32}
    assert rows[0]["shared_bytes"] < rows[-1]["shared_bytes"]
    table = {"nvcc": "13.0", "rows": rows}
    compiler = {"nvcc": "13.0"}
    assert aot_table.violations(rows, table, compiler=compiler) == ([], None)
    worse = [{**row, "registers": 73, "spill_bytes": 8} for row in rows]
    assert len(aot_table.violations(worse, table, compiler=compiler)[0]) == 2 * len(rows)
    wrong, note = aot_table.violations(worse, table, compiler={"nvcc": "14.0"})
    assert len(wrong) == len(rows)
    assert note is not None
    assert "the table is of nvcc 13.0, this is 14.0" in note


@needs_nvcc
def test_the_command_line_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cuda_resources.run([str(TREE), "--targets", "sm_90", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["kernels"]
    assert [row["spill_bytes"] for row in rows] == [0] * len(cuda_resources.SHAPES)
    with pytest.raises(ConfigError, match="no CUDA sources"):
        cuda_resources.run([str(tmp_path)])
    with pytest.raises(ConfigError, match="sm_80, sm_90, sm_100"):
        cuda_resources.run([str(TREE), "--targets", "gfx942"])


def test_without_nvcc_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="install the CUDA toolkit"):
        cuda_resources.run([str(TREE)])
