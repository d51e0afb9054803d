"""A benchmark's case: the methods that do the same work, and how much work it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmgrec.profiling.bench_schema import Row, relative_noise
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.timing import Timing, measure, threads
from mmgrec_engine.ops.work import Work


@dataclass(frozen=True)
class Case:
    """One problem and everybody who solves it.

    ``bench``: name of the op. ``shape``: what a reader knows the case by. ``ours`` and
    ``baselines``: name to a call without arguments. ``check`` raises where their answers differ.
    ``work`` is None where it depends on what is found. ``items``: rows, users or queries per call.
    ``prepare``, ``calls``, ``apart``, ``steady``: see `measure`. ``inner_calls``: how often a
    method does its work per call; times are per piece of work.
    """

    bench: str
    shape: dict[str, Any]
    ours: dict[str, Callable[[], object]]
    baselines: dict[str, Callable[[], object]]
    check: Callable[[], None]
    work: Work | None
    items: int
    prepare: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    calls: int = 1
    apart: bool = False
    steady: float = 0.0
    inner_calls: int = 1

    @property
    def title(self) -> str:
        """A name for people."""
        return f"{self.bench} " + " ".join(f"{k}={v}" for k, v in self.shape.items())


def run_case(
    case: Case, thread_counts: tuple[int, ...], roof: Roof, device: str = "cpu"
) -> Iterator[Row]:
    """Yield one row per method and thread count; all methods of a case run interleaved."""
    case.check()
    for count in thread_counts:
        with threads(count):
            found = measure(
                {**case.ours, **case.baselines},
                device,
                prepare=case.prepare,
                calls=case.calls,
                apart=case.apart,
                steady=case.steady,
            )
        found = {name: timing.per(case.inner_calls) for name, timing in found.items()}
        strongest = min(case.baselines, key=lambda name: found[name].median)
        for name, timing in found.items():
            yield _row(case, name, timing, count, roof, (strongest, found[strongest]))


def case_rows(
    makers: Iterable[Callable[[], Case]],
    thread_counts: tuple[int, ...],
    roof: Roof,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Run cases on the processor, each made when its turn comes; tell their titles."""
    for make in makers:
        case = make()
        tell(case.title)
        # One user is one unit of work: further threads have nothing to do.
        yield from run_case(case, thread_counts if case.items > 1 else thread_counts[:1], roof)


def seconds_of(timing: Timing) -> Row:
    """Return the fields of a row that say how long it took, and how surely."""
    noise = relative_noise(timing.best, timing.median, timing.rounds)
    return {
        "median_s": timing.median,
        "best_s": timing.best,
        "p99_s": timing.p99,
        "rounds": timing.rounds,
    } | ({} if noise is None else {"noise": noise})


def _row(
    case: Case, name: str, timing: Timing, count: int, roof: Roof, baseline: tuple[str, Timing]
) -> Row:
    row: Row = {
        "bench": case.bench,
        "case": case.shape,
        "backend": name,
        "threads": count,
        "ours": name in case.ours,
        **seconds_of(timing),
        "items_per_s": case.items / timing.median,
        "baseline": baseline[0],
        "baseline_median_s": baseline[1].median,
        "ratio": baseline[1].median / timing.median,
    }
    if case.work is not None:
        floor = case.work.floor_seconds(roof.flops_per_s[count], roof.bytes_per_s[count])
        row |= {"flops": case.work.flops, "bytes": case.work.bytes}
        row["roof_share"] = floor / timing.median
    return row
