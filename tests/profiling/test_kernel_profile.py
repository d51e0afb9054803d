"""`mmgrec profile --kernels`: predictions by hand, the report's text and files, the command."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import kernel_profile
from mmgrec.profiling.kernel_devices import DEVICES, UNITS, known_device, predict
from mmgrec.profiling.kernel_plot import plot_rooflines
from mmgrec.profiling.kernel_profile import predicted_row
from mmgrec.profiling.kernel_tables import WIDTH, kernel_tables
from mmgrec.profiling.kernel_work import example_of, unit_of
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.kernels import aot_table, cuda_resources
from mmgrec_engine.kernels.occupancy import occupancy
from mmgrec_engine.kernels.sass import MIX

ROOT = Path(__file__).parents[2]


def recorded_rows(target: str) -> list[dict[str, Any]]:
    """Every row of the checked-in tables, with as many instructions as a column must hold."""
    rows = aot_table.read_table(aot_table.TABLE)["rows"]
    rows += aot_table.read_table(ROOT / cuda_resources.TABLE)["rows"]
    widths = {"128": 64, "32": 12}
    kinds = ("global_load", "global_store", "shared_load", "shared_store")
    return [
        row
        | {"static_shared_bytes": 0, "products": 3 if row["config"].get("dtype") == "fp32" else 1}
        | {"mix": dict.fromkeys(MIX, 999), "widths": dict.fromkeys(kinds, widths)}
        | {
            "blocks": dict(
                occupancy(target, row["registers"], row["shared_bytes"], row["warps"]).blocks
            )
        }
        for row in rows
        if row["target"] == target
    ]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    kernels = [predicted_row(row) for row in recorded_rows("sm_90")]
    return {"target": "sm_90", "prediction": kernel_profile.PREDICTION, "kernels": kernels}


def row_of(report: dict[str, Any], kernel: str, **config: object) -> dict[str, Any]:
    (row,) = (
        r
        for r in report["kernels"]
        if r["kernel"] == kernel and config.items() <= r["config"].items()
    )
    return row  # type: ignore[no-any-return]


def test_a_norm_is_bound_by_memory(report: dict[str, Any]) -> None:
    row = row_of(report, "linear_norm_forward", dtype="fp32", width=64, rows=64)
    assert row["example"] == {"rows": 51200, "N": 64, "E": 64}
    moved = 4 * (51200 * (64 + 64 + 64) + 64 * (64 + 2))
    assert (row["flops"], row["bytes"]) == (2 * 51200 * 64 * 64, moved)
    h100 = row["predicted"]["H100"]
    assert h100 == {"seconds": pytest.approx(moved / 3350e9), "bound": "memory"}
    assert h100["seconds"] == pytest.approx(11.74e-6, rel=1e-3)


def test_a_feed_forward_net_in_float32_takes_three_products(report: dict[str, Any]) -> None:
    row = row_of(report, "feed_forward_norm_forward", dtype="fp32", width=64, rows=32)
    flops = 4 * 51200 * 256 * 64
    assert (row["unit"], row["products"], row["flops"]) == ("tf32", 3, flops)
    assert row["predicted"]["H100"]["bound"] == "tf32"
    assert row["predicted"]["H100"]["seconds"] == pytest.approx(3 * flops / 494.7e12)
    assert row["predicted"]["A100"]["seconds"] == pytest.approx(3 * flops / 156e12)
    half = row_of(report, "feed_forward_norm_forward", dtype="bf16", width=64, rows=64)
    assert (half["unit"], half["products"]) == ("bf16", 1)


def test_what_has_no_matrix_instructions_is_bound_by_the_float32_units() -> None:
    row = {"mma": {}, "config": {"dtype": "bf16"}, "products": 1}
    assert unit_of(row) == "fp32"
    # 16-bit codewords are exact in TF32, the residual is split in two.
    assert unit_of({"mma": {"HGMMA": 24}, "config": {"dtype": "bf16"}, "products": 2}) == "tf32"


def test_the_backward_pass_is_counted_product_by_product() -> None:
    config = {"dtype": "bf16", "head_width": 16}
    # 64 users, 128 items, 4 heads: per pair and number 2 operations a product.
    one = 2 * 64 * 128 * 128 * 16
    kernels = {"query_gradients": 14, "key_gradients_of_k_of_v": 18, "forward": 9}
    for name, products in kernels.items():
        example = example_of(f"relation_attention_{name}", config)
        assert example.work.flops == products * one
    rows = 64 * 128
    # q, k, v, out, d_out, d_q per head; U_Q, U_K, U_V and dU_Q; gates; log-sum-exp and delta.
    moved = 2 * (rows * 16 * (6 * 4 + 4) + 3 * 64) + 4 * rows * 4 * 2
    assert example_of("relation_attention_query_gradients", config).work.bytes == moved


def test_a_step_reads_what_evenly_spread_items_have() -> None:
    first = example_of("constrained_topk", {"beams": 1, "keep": 10})
    assert first.work.flops == 3 * 64 * 256
    third = example_of("constrained_topk", {"beams": 50, "keep": 50})
    children = third.work.flops / 3 / 64 / 50
    assert 14.5 < children < 1e6 / 65536  # a few of the 15.26 leaves share a token
    assert third.shape["level"] == 2


def test_every_recorded_kernel_has_an_example_and_four_predictions(
    report: dict[str, Any],
) -> None:
    assert len(report["kernels"]) > 100
    for row in report["kernels"]:
        assert row["flops"] > 0
        assert row["bytes"] > 0
        assert set(row["predicted"]) == {"A100", "H100", "H200", "B200"}
        assert all(p["seconds"] > 0 for p in row["predicted"].values())
        # More bandwidth and the same arithmetic cannot be slower.
        assert row["predicted"]["H200"]["seconds"] <= row["predicted"]["H100"]["seconds"]


def test_roofs_are_in_order_and_gpus_are_known_by_their_full_name() -> None:
    for device in DEVICES.values():
        assert [*device.flops_per_s] == [*UNITS]
        assert sorted(device.flops_per_s.values()) == [*device.flops_per_s.values()]
    assert known_device("NVIDIA H100 80GB HBM3") == "H100"
    assert known_device("NVIDIA H100 PCIe") is None  # slower memory, lower clocks
    found = predict(1e12, 1e6, "bf16", 1, DEVICES["A100"])
    assert found == {"seconds": pytest.approx(1e12 / 312e12), "bound": "bf16"}


def test_tables_are_readable_at_100_columns(report: dict[str, Any]) -> None:
    console = Console(width=WIDTH, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    for table in kernel_tables(report):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= WIDTH
    assert text.count("roofline") == len({row["kernel"] for row in report["kernels"]})
    assert "prediction from datasheets" in text


def test_measured_times_get_a_column(report: dict[str, Any]) -> None:
    row = report["kernels"][0] | {"measured_s": 12.3e-6}
    *_, roofline = kernel_tables({**report, "kernels": [row]})
    assert [str(c.header) for c in roofline.columns][-1] == "measured\nus"
    assert [*roofline.columns[-1].cells] == ["12.3"]


def test_the_picture_is_drawn_with_and_without_measurements(
    report: dict[str, Any], tmp_path: Path
) -> None:
    plot_rooflines(report, tmp_path / "a.png")
    measured = [row | {"measured_s": 1e-5, "measured_on": "H100"} for row in report["kernels"][:3]]
    plot_rooflines({**report, "kernels": measured, "gpu": "NVIDIA H100"}, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The command as people use it, for two small kernels: what it printed, and its folder."""
    out = tmp_path_factory.mktemp("kernels")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    words = ["profile", "--kernels", "--target", "sm_90", "--kernel", "rq_table", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from mmgrec.cli.main import main; main()", *words, "--out", out],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=out,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def test_the_command_compiles_reads_and_predicts(command: tuple[dict[str, Any], Path]) -> None:
    found, out = command
    assert [row["config"]["dtype"] for row in found["kernels"]] == ["bf16", "fp32"]
    for row in found["kernels"]:
        wanted = {"kernel", "config", "target", "registers", "spill_bytes", "shared_bytes", "mma"}
        assert wanted | {"occupancy", "predicted", "mix", "blocks", "ncu"} <= set(row)
        assert row["spill_bytes"] == 0
        assert row["mix"]["global_store"] > 0
    assert "prediction" in found["prediction"]
    assert json.loads((out / "kernels.json").read_text()) == found
    assert (out / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_cuda_source_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    assert kernel_profile._cuda_rows("sm_90", tmp_path, lambda _: None, notes, {}) == []
    assert notes == [
        "constrained_topk (CUDA) is missing: no CUDA sources here (a source tree with csrc/)"
    ]
    monkeypatch.setenv("PATH", "")
    kernel_profile._cuda_rows("sm_90", ROOT, lambda _: None, notes, {})
    assert "nvcc is not on the path (install the CUDA toolkit)" in notes[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["profile"], "either a run"),
        (["profile", "run", "--kernels"], "either a run"),
        (["profile", "--kernels", "--target", "sm_70"], "sm_80, sm_90, sm_100"),
        (["profile", "--kernels", "--target", "gfx942"], "sm_80, sm_90, sm_100"),
        (["profile", "--kernels", "--kernel", "softmax"], "relation_attention_forward"),
        (["profile", "run", "--target", "sm_90"], "add --kernels"),
    ],
)
def test_contradictions_are_errors(words: list[str], message: str) -> None:
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, ConfigError)
    assert message in str(error)


def test_without_triton_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "triton" else find(name)
    )
    error = CliRunner().invoke(app, ["profile", "--kernels"]).exception
    assert isinstance(error, BackendError)
    assert "pip install 'mmgrec-engine[gpu]'" in str(error)
