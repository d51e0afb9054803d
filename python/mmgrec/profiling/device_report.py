"""`mmgrec bench device`: kernels and whole requests on one GPU, in one run of a minute or two."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch

from mmgrec.profiling.beam_self_attention_cases import beam_self_attention_cases
from mmgrec.profiling.bench_schema import Report, Row, make_report
from mmgrec.profiling.cases import Case, run_case
from mmgrec.profiling.cross_attention_cases import cross_attention_cases
from mmgrec.profiling.device_cases import device_step_cases
from mmgrec.profiling.device_events import event_fields, measure_device_roof
from mmgrec.profiling.device_search_cases import device_search_cases
from mmgrec.profiling.device_timing import on_device
from mmgrec.profiling.norm_block_cases import feed_forward_norm_cases, linear_norm_cases
from mmgrec.profiling.relation_attention_cases import relation_attention_cases
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.rq_assign_cases import rq_assign_cases
from mmgrec_engine.errors import BackendError
from mmgrec_engine.ops.backends import choose

WAITS = ("torch_csr",)
"""Methods that ask the device how much work there is."""


def bench_device(tell: Callable[[str], None]) -> Report:
    """Benchmark kernels and whole requests on the GPU.

    ::

        kernels: replays of a graph of 20 calls, so that the host's launches do not count; in
            further fields single calls between two events that find the cache cold (`do_bench`)
        requests: from arrays on the host to arrays on the host

    Parameters
    ----------
    tell : callable
        Gets the name of each case before it runs.

    Returns
    -------
    dict
        A report (`bench_schema`); a case that failed is a row with an ``error``, and the others
        still run: whoever borrows a GPU wants all of them.

    Raises
    ------
    BackendError
        There is no GPU, or the project was built without CUDA.
    """
    if not torch.cuda.is_available():
        raise BackendError("bench device needs a GPU", allowed="a machine where torch finds one")
    choose("constrained_topk", "cuda", device="cuda")
    _, figures, rows = device_rows(tell)
    made = list(rows)
    report = make_report(figures, [row for row in made if "error" not in row])
    return report | {"failed": [row for row in made if "error" in row]}


def device_rows(tell: Callable[[str], None]) -> tuple[Roof, dict[str, float], Iterator[Row]]:
    """Measure the roofs; return them, as a report has them, and the rows that are to come."""
    tell("roofs of the GPU")
    roof, figures = measure_device_roof()
    return roof, figures, _all_rows(roof, tell)


def _all_rows(roof: Roof, tell: Callable[[str], None]) -> Iterator[Row]:
    yield from _rows(device_search_cases(), roof, tell, captured=False)
    for cases in (
        device_step_cases(),
        cross_attention_cases("cuda"),
        beam_self_attention_cases("cuda"),
        linear_norm_cases("cuda"),
        feed_forward_norm_cases("cuda"),
        relation_attention_cases("cuda"),
    ):
        yield from _rows(cases, roof, tell, captured=True)
    # Asks whether its codebooks are finite, which waits: called, not captured.
    yield from _rows(rq_assign_cases("cuda"), roof, tell, captured=False)


def _rows(
    makers: Iterator[Callable[[], Case]],
    roof: Roof,
    tell: Callable[[str], None],
    *,
    captured: bool,
) -> Iterator[Row]:
    for make in makers:
        try:
            yield from _case_rows(make(), roof, tell, captured)
        except Exception as error:  # a row of the report: see `bench_device`
            arguments = str(getattr(make, "args", ""))
            yield {"case": arguments, "error": f"{type(error).__name__}: {error}"}
        gc.collect()
        torch.cuda.empty_cache()


def _case_rows(
    case: Case, roof: Roof, tell: Callable[[str], None], captured: bool
) -> Iterator[Row]:
    tell(case.title)
    timed = on_device(case, queued=WAITS) if captured else case
    rows = list(run_case(timed, (1,), roof, "cuda"))
    del timed  # its graphs hold memory
    events = event_fields(case) if captured else {}
    for row in rows:
        clock = "replays of a graph" if captured else "calls and a wait"
        yield {**row, "device": "cuda", "timed": clock, **events.get(row["backend"], {})}
