"""Launching, measuring and tracing kernels: what can be held without a GPU."""

from __future__ import annotations

import json
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from mmgrec.profiling import device_cases, kernel_launch, kernel_measure, kernel_proton
from mmgrec.profiling.kernel_launch import arguments_of, make_launch, ncu_command
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels import ranges
from mmgrec_engine.kernels.linear_norm import linear_norm_forward
from mmgrec_engine.ops.backends import availability
from mmgrec_engine.ops.relation_attention import relation_attention

HAS_GPU = torch.cuda.is_available()
HAS_CUDA = any(a.available for a in availability("constrained_topk", "cuda") if a.backend == "cuda")
DEVICE = "cuda" if HAS_GPU else "cpu"

SMALL = {
    "relation_attention_forward": {"B": 2, "H": 2, "L": 3, "d": 16},
    "relation_attention_key_gradients_of_k": {"B": 2, "H": 2, "L": 3, "d": 16},
    "rq_assign": {"N": 5, "D": 32, "K": 8, "levels": 2, "top2": 1},
    "rq_table": {"N": 5, "D": 32, "K": 8, "levels": 2},
    "cross_attention_beams_forward": {"B": 2, "H": 2, "M": 3, "L": 4, "d": 16},
    "beam_self_attention_forward": {"B": 2, "M": 3, "H": 2, "d": 16, "position": 2},
    "linear_norm_forward": {"rows": 5, "N": 16, "E": 16},
    "feed_forward_norm_forward": {"rows": 5, "E": 16, "F": 32},
}


@pytest.mark.parametrize("kernel", SMALL)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_kernel_is_launched_on_numbers(kernel: str, dtype: str) -> None:
    made: Any = make_launch(kernel, {"dtype": dtype, **SMALL[kernel]}, DEVICE)()
    tensors = [made] if isinstance(made, torch.Tensor) else [x for x in made if x is not None]
    assert tensors
    assert all(torch.isfinite(x.float()).all() for x in tensors)


def test_a_launch_is_the_ops_kernel_on_the_shape_that_was_asked_for() -> None:
    at = {"dtype": "fp32", **SMALL["relation_attention_forward"]}
    out, _ = make_launch("relation_attention_forward", at, DEVICE)()  # type: ignore[misc]
    assert out.shape == (2, 2, 3, 16)
    draw = kernel_launch._draw
    q, k, v = draw(at, DEVICE, 3, 2, 3, 2, 16).transpose(2, 3).unbind(0)
    relations, gates = draw(at, DEVICE, 3, 2, 3, 16), draw(at, DEVICE, 2, 3)
    lengths = torch.full((2,), 3, device=DEVICE)
    torch.testing.assert_close(out, relation_attention(q, k, v, *relations, gates, lengths))


@pytest.mark.skipif(HAS_GPU and not HAS_CUDA, reason="built without CUDA")
@pytest.mark.parametrize(("level", "beams"), [(0, 1), (2, 5)])
def test_a_step_is_launched(monkeypatch: pytest.MonkeyPatch, level: int, beams: int) -> None:
    monkeypatch.setattr(device_cases, "ITEMS", 3000)
    at = {"N": 3000, "level": level, "B": 2, "M": beams, "W": beams if level else 4}
    found: Any = make_launch("constrained_topk", at, DEVICE)()
    scores = found if level else found.scores
    assert scores.shape == (2, at["W"])


def test_unknown_kernels_and_arguments_are_errors() -> None:
    with pytest.raises(ConfigError, match="linear_norm"):
        make_launch("softmax", {})
    with pytest.raises(ConfigError, match="an argument is missing"):
        make_launch("linear_norm_forward", {"dtype": "fp32", "rows": 3}, DEVICE)
    for word in ("rows", "rows=many", "dtype=fp64"):
        with pytest.raises(ConfigError, match="NAME=NUMBER"):
            kernel_launch._parse([word])


def test_the_ncu_line_names_a_module_that_runs_that_kernel() -> None:
    config, shape = {"dtype": "bf16", "width": 64, "rows": 16}, {"rows": 3200, "N": 64, "E": 64}
    line = shlex.split(ncu_command("linear_norm_forward", config, shape))
    assert line[:3] == ["ncu", "--set", "full"]
    assert f"regex:^{linear_norm_forward.__name__}$" in line
    assert line[line.index("--launch-skip") + 1] == "2"
    module, *words = line[line.index("-m") + 1 :]
    assert module == kernel_launch.__name__
    assert words[0] == "linear_norm_forward"
    assert kernel_launch._parse(words[1:]) == arguments_of(config, shape)


def test_two_launches_of_one_function_are_told_apart() -> None:
    config, shape = {"dtype": "bf16", "head_width": 128}, {"B": 1, "H": 1, "L": 1, "d": 128}
    of_k, of_v = (
        ncu_command(f"relation_attention_key_gradients_of_{x}", config, shape) for x in "kv"
    )
    assert "regex:^relation_attention_key_gradients$ --launch-skip 4 " in of_k
    assert "--launch-skip 5 --launch-count 1" in of_v


@pytest.mark.skipif(HAS_GPU, reason="is about machines without one")
def test_without_a_gpu_a_launch_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["kernel_launch", "linear_norm_forward", "dtype=fp32", "rows=3", "N=16", "E=16"]
    monkeypatch.setattr(sys, "argv", words)
    assert kernel_launch.main() == 2
    assert "needs a GPU" in capsys.readouterr().err
    assert kernel_measure.gpu_target() is None


def test_ranges_are_off_until_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(torch.cuda.nvtx, "range", lambda name: opened.append(name) or _Quiet())
    assert ranges.op_range("a") is ranges.op_range("b")
    with ranges.ranges(), ranges.op_range("c"):
        pass
    assert opened == ["c"]
    assert ranges.op_range("d") is ranges.op_range("a")


class _Quiet:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def event(name: str, begin: float, length: float, *, gpu: bool) -> Any:  # noqa: ANN401
    kinds = torch.autograd.DeviceType
    span = types.SimpleNamespace(start=begin, end=begin + length)
    kind = kinds.CUDA if gpu else kinds.CPU
    return types.SimpleNamespace(name=name, time_range=span, device_type=kind)


def a_row(kernel: str, seconds: float) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "config": {"dtype": "bf16", "head_width": 128},
        "example": {"B": 1, "H": 4, "L": 8, "d": 128},
        "predicted": {"H100": {"seconds": seconds, "bound": "memory"}},
        "flops": 1,
        "bytes": 1,
    }


def test_measured_is_the_median_of_the_kernel_within_its_range() -> None:
    of_k = a_row("relation_attention_key_gradients_of_k", 2e-6)
    of_v = a_row("relation_attention_key_gradients_of_v", 2e-6)
    other = a_row("linear_norm_forward", 1e-6)
    name = "relation_attention_key_gradients"
    events = []
    for begin, row in ((0, of_k), (1000, of_v)):
        events.append(event(kernel_measure.title(row), begin, 900, gpu=False))
        # Shown on the GPU's track too: no kernel, although its name contains one.
        events.append(event(kernel_measure.title(row), begin, 900, gpu=True))
        events += [event(name, begin + 100 * n, 4 + 6 * (n % 2), gpu=True) for n in range(1, 7)]
        events.append(event("fill", begin + 50, 77, gpu=True))
    events.append(event(name, 5000, 500, gpu=True))  # outside of every range
    kernel_measure._add_measured([of_k, of_v, other], events, "H100")
    assert of_k["measured_s"] == pytest.approx(10e-6)
    assert of_v["measured_s"] == pytest.approx(4e-6)
    assert of_v["roof_share"] == pytest.approx(0.5)
    assert of_v["measured_on"] == "H100"
    assert "measured_s" not in other


class FakeProfiler:
    """In torch.profiler's place: tells that every kernel took seven microseconds."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __enter__(self) -> FakeProfiler:
        return self

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> list[Any]:
        found = []
        for place, row in enumerate(self.rows):
            begin = 100.0 * place
            found.append(event(kernel_measure.title(row), begin, 90, gpu=False))
            function = kernel_launch.function_of(row["kernel"])
            found.append(event(function, begin + 10, 7, gpu=True))
        return found

    def export_chrome_trace(self, path: str) -> None:
        Path(path).write_text("{}")


def test_one_kernels_failure_costs_no_other_its_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [a_row("cross_attention_beams_forward", 1e-6), a_row("linear_norm_forward", 1e-6)]
    report: dict[str, Any] = {"kernels": [*rows, a_row("constrained_topk", 1e-6)], "notes": []}
    replayed: list[str] = []

    def replay(row: dict[str, Any]) -> None:
        if row["kernel"].startswith("cross"):
            raise RuntimeError("planted")
        replayed.append(row["kernel"])

    commands: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:  # noqa: ANN401
        commands.append((command, json.loads(options["input"])))
        return types.SimpleNamespace(returncode=1, stderr="no CUPTI")

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: FakeProfiler(rows[1:]))
    monkeypatch.setattr(kernel_measure, "_replay", replay)
    monkeypatch.setattr(kernel_measure.subprocess, "run", run)
    monkeypatch.setattr(
        kernel_measure,
        "availability",
        lambda *_: [types.SimpleNamespace(backend="cuda", available=False, reason="no nvcc")],
    )
    kernel_measure.measure_kernels(report, tmp_path, lambda _: None)
    assert replayed == ["linear_norm_forward"]
    assert rows[1]["measured_s"] == pytest.approx(7e-6)
    assert "measured_s" not in rows[0]
    assert report["gpu"] == "NVIDIA H100 80GB HBM3"
    first, second, third = report["notes"]
    assert first == "constrained_topk is not measured: no nvcc"
    assert "planted" in second
    assert third == "no Proton trace: no CUPTI"
    assert (tmp_path / "torch_trace.json").is_file()
    ((command, cases),) = commands
    assert command[1:] == ["-P", "-m", "mmgrec.profiling.kernel_proton", str(tmp_path)]
    assert [case["kernel"] for case in cases] == ["linear_norm_forward"]


def test_proton_traces_every_case_as_a_tree_and_as_a_time_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[Any] = []
    fake = types.ModuleType("triton.profiler")
    fake.start = lambda name, data, hook: said.append((name, data, hook)) or 7  # type: ignore
    fake.scope = lambda name: said.append(name) or _Quiet()  # type: ignore[attr-defined]
    fake.finalize = lambda session: said.append(session)  # type: ignore[attr-defined]
    import triton

    monkeypatch.setitem(sys.modules, "triton.profiler", fake)
    monkeypatch.setattr(triton, "profiler", fake, raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    calls: list[str] = []
    made = {"a": lambda: calls.append("a")}
    monkeypatch.setattr(kernel_proton, "make_launch", lambda kernel, _: made[kernel])
    case = {"title": "a b=1", "kernel": "a", "arguments": {"b": 1}}
    kernel_proton.trace_cases([case], tmp_path)
    name = str(tmp_path / "proton")
    expected = [(name, kind, "triton") for kind in ("tree", "trace")]
    assert said == [expected[0], "a b=1", 7, expected[1], "a b=1", 7]
    assert len(calls) == 1 + 2 * kernel_launch.CALLS
