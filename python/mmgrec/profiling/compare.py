"""Hold a report against an earlier one: which cases got slower, beyond what noise explains.

Two runs of the same code on the same machine never take the same time. So a case is called slower
only where

- it is slower than the machine at large and than the baselines of its own case, which ran in turn
  with it and are the same code in both runs;
- both its median and its fastest round say so (or its median alone, more clearly): load from
  elsewhere moves medians and leaves the fastest round, changed code moves both;
- by more than these two runs scatter, with a bar that rises with the number of cases, since of
  hundreds one is always far off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, log, pi, sqrt
from statistics import NormalDist, median
from typing import Any, Literal

from mmgrec.profiling.bench_schema import ReadReport, ReadRow, relative_noise
from mmgrec_engine.errors import ArtifactError

Verdict = Literal["slower", "faster", "same", "unclear"]

LEAST = 0.1
"""Smallest change that is told, in natural logarithms: 10 %. Layout of code and memory moves fast
calls by some percent from one process to the next, however often they are repeated."""
ALONE = 1.7
"""Bars that a median has to pass where the fastest round does not agree."""
CHANCE = 0.01
"""Of one false alarm in the whole comparison, were noise normal."""
FEW = 5
"""Methods that the scatter of a bench needs; of fewer, that of all stands in."""
STEADY = 0.05
"""Standard error of a median, as a share, over which nothing is said of a method, and it is no
control of others: most of its rounds were interrupted."""
WANTED = log(1.2)
"""A change that should be told: where the bar is higher, silence means little."""


@dataclass(frozen=True)
class Shift:
    """How much longer a method took in the second run: logarithms of ratios of times.

    ``best`` is None where the fastest rounds are not known; ``error``: standard error of the
    median's, from the scatter of rounds.
    """

    row: ReadRow
    before: float
    after: float
    median: float
    best: float | None
    error: float


@dataclass(frozen=True)
class Change:
    """What became of one of our methods in one case.

    ``change``: relative to what did not change, as a share (0.2: takes a fifth longer);
    ``baselines``: what the baselines of the case did; ``bar``: the least change that is told.
    """

    row: ReadRow
    before: float
    after: float
    change: float
    baselines: float
    bar: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The outcome. ``machine``: what all baselines did, as a share."""

    changes: list[Change]
    machine: float
    only_before: list[str]
    only_after: list[str]
    warnings: list[str] = field(default_factory=list)

    def of(self, verdict: Verdict) -> list[Change]:
        """Return the changes with a verdict, the largest first."""
        chosen = [change for change in self.changes if change.verdict == verdict]
        return sorted(chosen, key=lambda change: -abs(change.change))

    @property
    def slower(self) -> list[Change]:
        """Return what got slower."""
        return self.of("slower")


def compare_reports(before: ReadReport, after: ReadReport) -> Comparison:
    """Compare two reports of one machine.

    ::

        shift     = ln(seconds after / before) of every method's median, and of its fastest round
        machine   = median shift of the bench's baselines;  own = that of the case's baselines
        change    = the smaller of (shift - machine) and (shift - own); 0 where they disagree
        bar       = max(10 %, z sqrt(scatter of the bench ^2 + standard error ^2))
        slower    : change of median and of fastest round > bar, or of the median alone > 1.7 bars
        unclear   : the shift is over the bar and the change is not, or the bar is over 20 %

    Baselines with a standard error over 5 % do not count, and of ours nothing is told; of a bench
    with fewer than five steady ones, those of all benches count. z is the normal quantile of
    1 - 0.01 / number of cases (Bonferroni). Bytes per item have no noise: more than 1 % is told.

    Raises
    ------
    ArtifactError
        The reports are of different machines, or have no case in common.
    """
    _check_machines(before, after)
    old = {row.key: row for row in before.rows}
    pairs = [(old[row.key], row) for row in after.rows if row.key in old]
    shifts = [shift for pair in pairs if (shift := _shift(*pair)) is not None]
    if not shifts:
        raise ArtifactError(
            "the reports have no timed case in common", remedy="compare two of the same bench"
        )
    new_keys = {row.key for row in after.rows}
    controls = Controls(shifts)
    changes = [*_timed(shifts, controls), *_sized(pairs)]
    return Comparison(
        changes=changes,
        machine=exp(controls.machine("")) - 1,
        only_before=[key for key in old if key not in new_keys],
        only_after=[row.key for row in after.rows if row.key not in old],
        warnings=_warnings(before, after),
    )


def _check_machines(before: ReadReport, after: ReadReport) -> None:
    for name in ("processor", "simd", "cores", "gpu"):
        a, b = before.machine.get(name), after.machine.get(name)
        if a != b:
            raise ArtifactError(
                f"the reports are of different machines: {name}",
                value=f"{a} and {b}",
                remedy="compare reports of the same machine",
            )


def _warnings(before: ReadReport, after: ReadReport) -> list[str]:
    names = before.versions.keys() | after.versions.keys()
    return [
        f"{name} was {before.versions.get(name)} and is {after.versions.get(name)}: "
        "the baselines may have changed by themselves"
        for name in sorted(names - {"mmgrec-engine"})
        if before.versions.get(name) != after.versions.get(name)
    ]


def _seconds(row: ReadRow) -> float | None:
    """Return what is compared: under a given load, processor time per request says more."""
    busy = (row.model_extra or {}).get("cpu_s_per_request")
    return busy or row.median_s


def _shift(before: ReadRow, after: ReadRow) -> Shift | None:
    a, b = _seconds(before), _seconds(after)
    if a is None or b is None:
        return None
    known = before.best_s is not None and after.best_s is not None
    best = log(after.best_s / before.best_s) if known else None  # type: ignore[operator]
    error = sqrt(_error(before) ** 2 + _error(after) ** 2)
    return Shift(after, a, b, log(b / a), best, error)


def _error(row: ReadRow) -> float:
    """Return the standard error of a median, were its rounds normal and independent."""
    if row.best_s is None or row.median_s is None or row.rounds is None:
        return 0.0
    noise = relative_noise(row.best_s, row.median_s, row.rounds)
    return 0.0 if noise is None else sqrt(pi / 2 / row.rounds) * noise


class Controls:
    """What did not change: what the machine did, and how far methods scatter, per bench.

    The bench "" is all of them.
    """

    def __init__(self, shifts: Sequence[Shift]) -> None:
        self._groups: dict[tuple[str, bool], list[float]] = defaultdict(list)
        self._cases: dict[str, list[Shift]] = defaultdict(list)
        for shift in shifts:
            if shift.error > STEADY:
                continue
            if not shift.row.ours:
                self._cases[_case(shift.row)].append(shift)
            for bench in (shift.row.bench, ""):
                self._groups[bench, shift.row.ours].append(shift.median)

    def of_case(self, row: ReadRow) -> list[Shift]:
        """Return the steady baselines of a row's case."""
        return self._cases[_case(row)]

    def machine(self, bench: str) -> float:
        """Return the median shift of a bench's baselines; of ours where there are none at all."""
        return median(self._group(bench, False) or self._group("", True) or [0.0])

    def scatter(self, bench: str) -> float:
        """Return the deviation from run to run.

        ::

            baselines: around the machine;  ours: around their own middle, so that a change that
            slows all cases of an op down is no scatter;  the larger of both
        """
        ours = self._group(bench, True)
        middle = median(ours or [0.0])
        apart = [abs(shift - self.machine(bench)) for shift in self._group(bench, False)]
        own = [abs(shift - middle) for shift in ours]
        # Times 1.48 it is a normal deviation; outliers do not count.
        return 1.4826 * max(median(apart or [0.0]), median(own or [0.0]))

    def _group(self, bench: str, ours: bool) -> list[float]:
        found = self._groups[bench, ours]
        return found if len(found) >= FEW else self._groups["", ours]


def _timed(shifts: Sequence[Shift], controls: Controls) -> Iterable[Change]:
    ours = [shift for shift in shifts if shift.row.ours]
    z = NormalDist().inv_cdf(1 - CHANCE / max(1, len(ours)))
    for shift in ours:
        scatter = controls.scatter(shift.row.bench)
        bar = max(LEAST, z * sqrt(scatter**2 + shift.error**2))
        machine, rivals = controls.machine(shift.row.bench), controls.of_case(shift.row)
        yield _judge(shift, machine, rivals, bar)


def _judge(shift: Shift, machine: float, rivals: Sequence[Shift], bar: float) -> Change:
    own = median(rival.median for rival in rivals) if rivals else machine
    change = _least(shift.median - machine, shift.median - own)
    told = abs(change) > ALONE * bar
    if shift.best is not None:
        bests = [rival.best for rival in rivals if rival.best is not None]
        own_best = median(bests) if bests else machine
        fastest = _least(shift.best - machine, shift.best - own_best)
        told = told or abs(_least(change, fastest)) > bar
    verdict: Verdict = "same"
    if told and shift.error <= STEADY:
        verdict = "slower" if change > 0 else "faster"
    elif told or abs(shift.median - machine) > bar or bar > WANTED:
        verdict = "unclear"
    return Change(
        shift.row, shift.before, shift.after, exp(change) - 1, exp(own) - 1, exp(bar) - 1, verdict
    )


def _sized(pairs: Iterable[tuple[ReadRow, ReadRow]]) -> Iterable[Change]:
    """Compare bytes per item, which have no noise."""
    for old, new in pairs:
        sizes: list[Any] = [(row.model_extra or {}).get("bytes_per_item") for row in (old, new)]
        if new.ours and all(sizes):
            change = sizes[1] / sizes[0] - 1
            verdict: Verdict = "same"
            if abs(change) > 0.01:
                verdict = "slower" if change > 0 else "faster"
            yield Change(new, sizes[0], sizes[1], change, 0.0, 0.01, verdict)


def _case(row: ReadRow) -> str:
    device = (row.model_extra or {}).get("device")
    return f"{row.bench} {row.case} {row.threads} {device}"


def _least(a: float, b: float) -> float:
    """Return the smaller of two changes; 0 where one is up and one is down."""
    if a * b <= 0:
        return 0.0
    return a if abs(a) < abs(b) else b
