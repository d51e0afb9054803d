"""`mmgrec bench device`: kernels and whole requests on one GPU, in one run of a minute or two."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mmgrec.profiling.beam_self_attention_cases import beam_self_attention_cases
from mmgrec.profiling.cases import Case, run_case
from mmgrec.profiling.cross_attention_cases import cross_attention_cases
from mmgrec.profiling.device_cases import device_step_cases
from mmgrec.profiling.device_search_cases import device_search_cases
from mmgrec.profiling.device_timing import on_device
from mmgrec.profiling.environment import machine
from mmgrec.profiling.norm_block_cases import feed_forward_norm_cases, linear_norm_cases
from mmgrec.profiling.relation_attention_cases import relation_attention_cases
from mmgrec.profiling.roof import Roof, measure_roof
from mmgrec.profiling.rq_assign_cases import rq_assign_cases
from mmgrec_engine.errors import BackendError
from mmgrec_engine.ops.backends import choose

WAITS = ("torch_csr",)
"""Methods that ask the device how much work there is."""


def bench_device(tell: Callable[[str], None]) -> dict[str, Any]:
    """Benchmark kernels and whole requests on the GPU.

    ::

        kernels: replays of a graph of 20 calls, so that the host's launches do not count
        requests: from arrays on the host to arrays on the host

    Parameters
    ----------
    tell : callable
        Gets the name of each case before it runs.

    Returns
    -------
    dict
        ``machine``, ``roof`` (of the GPU) and ``rows``; a case that failed is a row with an
        ``error``, and the others still run: whoever borrows a GPU wants all of them.

    Raises
    ------
    BackendError
        There is no GPU, or the project was built without CUDA.
    """
    if not torch.cuda.is_available():
        raise BackendError("bench device needs a GPU", allowed="a machine where torch finds one")
    choose("constrained_topk", "cuda", device="cuda")
    tell("roofs of the GPU")
    roof = measure_roof((1,), "cuda")
    rows = [
        *_rows(device_search_cases(), _as_it_is, roof, tell),
        *_rows(device_step_cases(), _captured, roof, tell),
        *_rows(cross_attention_cases("cuda"), _captured, roof, tell),
        *_rows(beam_self_attention_cases("cuda"), _captured, roof, tell),
        *_rows(linear_norm_cases("cuda"), _captured, roof, tell),
        *_rows(feed_forward_norm_cases("cuda"), _captured, roof, tell),
        *_rows(relation_attention_cases("cuda"), _captured, roof, tell),
        # Asks whether its codebooks are finite, which waits: called, not captured.
        *_rows(rq_assign_cases("cuda"), _as_it_is, roof, tell),
    ]
    return {"machine": machine(), "versions": _versions(), "roof": roof.as_json(), "rows": rows}


def _versions() -> dict[str, str | None]:
    return {"torch": torch.__version__, "cuda": torch.version.cuda}


def _as_it_is(case: Case) -> Case:
    return case


def _captured(case: Case) -> Case:
    return on_device(case, queued=WAITS)


def _rows(
    makers: Iterator[Callable[[], Case]],
    prepare: Callable[[Case], Case],
    roof: Roof,
    tell: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    for make in makers:
        try:
            case = make()
            tell(case.title)
            for row in run_case(prepare(case), (1,), roof, "cuda"):
                yield {**row, "device": "cuda"}
        except Exception as error:  # a row of the report: see `bench_device`
            arguments = str(getattr(make, "args", ""))
            yield {"case": arguments, "error": f"{type(error).__name__}: {error}"}
        case = None  # type: ignore[assignment]  # its graphs hold memory
        gc.collect()
        torch.cuda.empty_cache()
