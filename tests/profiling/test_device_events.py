"""What `bench device` makes of a GPU's clock; the clock itself needs a GPU."""

from __future__ import annotations

import pytest
import torch

from mmgrec.profiling import device_events
from mmgrec.profiling.cases import Case
from mmgrec.profiling.device_events import CALLS, COPY_BYTES, GEMM_SIZE
from mmgrec.profiling.timing import Timing

REPLAY = {"gemm": 40.0, "gemm_bf16": 4.0, "copy": 2.0}
EVENTS = {"gemm": 1.0, "gemm_bf16": 0.5, "copy": 0.2}
"""Seconds of a replay of `CALLS` calls, and of one call between events."""


def test_fields_of_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_events, "event_seconds", lambda method: [3.0, method(), 1.0])
    case = Case("op", {}, {"triton": lambda: 2.0}, {"torch": lambda: 0.5}, lambda: None, None, 1)
    assert device_events.event_fields(case) == {
        "triton": {"do_bench_median_s": 2.0, "do_bench_best_s": 1.0, "do_bench_rounds": 3},
        "torch": {"do_bench_median_s": 1.0, "do_bench_best_s": 0.5, "do_bench_rounds": 3},
    }


def test_the_roof_is_the_better_of_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_events, "_methods", lambda: {name: name for name in REPLAY})
    monkeypatch.setattr(device_events, "captured", lambda method: method)
    monkeypatch.setattr(device_events, "event_seconds", lambda name: [9.0, EVENTS[name]])
    timings = {name: Timing(best, best, best, 7) for name, best in REPLAY.items()}
    monkeypatch.setattr(device_events, "measure", lambda *_: timings)
    roof, figures = device_events.measure_device_roof()
    flops = 2 * GEMM_SIZE**3
    assert roof.flops_per_s == {1: flops / 1.0}  # events; the replay's call takes 2 s
    assert roof.bytes_per_s == {1: pytest.approx(2 * COPY_BYTES / 0.1)}  # the replay's
    assert figures["gemm_gflops_graph"] == pytest.approx(flops * CALLS / 40.0 / 1e9)
    assert figures["gemm_bf16_gflops_1t"] == pytest.approx(flops / 0.2 / 1e9)
    assert figures["copy_gbs_do_bench"] == pytest.approx(2 * COPY_BYTES / 0.2 / 1e9)
    assert {"gemm_gflops_1t", "copy_gbs_1t"} <= set(figures)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_events_of_a_real_call() -> None:
    x = torch.ones(2**20, device="cuda")
    seconds = device_events.event_seconds(lambda: x * 2)
    assert len(seconds) > 3
    assert min(seconds) > 0
