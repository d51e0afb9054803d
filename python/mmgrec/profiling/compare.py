"""Hold a report against an earlier one: which cases got slower, beyond what noise explains.

Two runs of the same code on the same machine never take the same time. So a case is called slower
only where

- it is slower than the machine at large and than the baselines of its own case, which ran in turn
  with it and are the same code in both runs;
- both its median and its fastest round say so (or its median alone, twice as clearly): load from
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

LEAST = 0.07
"""Smallest change that is told, in natural logarithms: 7 %. Layout of code and memory moves fast
calls by a few percent from one process to the next, however often they are repeated."""
CHANCE = 0.01
"""Of one false alarm in the whole comparison, were noise normal."""
FEW = 5
"""Methods that the scatter of a bench needs; of fewer, that of all stands in."""
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
        machine   = median shift of all baselines;  own = that of the case's baselines
        change    = the smaller of (shift - machine) and (shift - own); 0 where they disagree
        bar       = max(7 %, z sqrt(scatter of the bench ^2 + standard error ^2))
        slower    : change of median and of fastest round > bar, or of the median alone > 2 bars
        unclear   : the shift is over the bar and the change is not, or the bar is over 20 %

    z is the normal quantile of 1 - 0.01 / number of cases (Bonferroni). Bytes per item have no
    noise: more than 1 % more is told.

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
    changes = [*_timed(shifts), *_sized(pairs)]
    return Comparison(
        changes=changes,
        machine=exp(_machine(shifts)) - 1,
        only_before=[key for key in old if key not in new_keys],
        only_after=[key for key in new_keys if key not in old],
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


def _timed(shifts: Sequence[Shift]) -> Iterable[Change]:
    ours = [shift for shift in shifts if shift.row.ours]
    machine, scatters = _machine(shifts), _scatters(shifts)
    rivals: dict[str, list[Shift]] = defaultdict(list)
    for shift in shifts:
        if not shift.row.ours:
            rivals[_case(shift.row)].append(shift)
    z = NormalDist().inv_cdf(1 - CHANCE / max(1, len(ours)))
    for shift in ours:
        scatter = scatters.get(shift.row.bench, scatters[""])
        bar = max(LEAST, z * sqrt(scatter**2 + shift.error**2))
        yield _judge(shift, machine, rivals[_case(shift.row)], bar)


def _judge(shift: Shift, machine: float, rivals: Sequence[Shift], bar: float) -> Change:
    own = median(rival.median for rival in rivals) if rivals else machine
    change = _least(shift.median - machine, shift.median - own)
    told = abs(change) > 2 * bar
    if shift.best is not None:
        bests = [rival.best for rival in rivals if rival.best is not None]
        own_best = median(bests) if bests else machine
        fastest = _least(shift.best - machine, shift.best - own_best)
        told = told or abs(_least(change, fastest)) > bar
    verdict: Verdict = "same"
    if told:
        verdict = "slower" if change > 0 else "faster"
    elif abs(shift.median - machine) > bar or bar > WANTED:
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


def _machine(shifts: Sequence[Shift]) -> float:
    rivals = [shift.median for shift in shifts if not shift.row.ours]
    return median(rivals or [shift.median for shift in shifts])


def _scatters(shifts: Sequence[Shift]) -> dict[str, float]:
    """Return how methods scatter from run to run, per bench, and under "" of all.

    ::

        baselines: around the machine;  ours: around their own middle, so that a change that slows
        all cases of an op down is no scatter;  the larger of both
    """
    machine = _machine(shifts)
    groups: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for shift in shifts:
        for bench in (shift.row.bench, ""):
            groups[bench, shift.row.ours].append(shift.median)
    found: dict[str, float] = defaultdict(float)
    for (bench, ours), values in groups.items():
        if len(values) >= FEW or not bench:
            middle = median(values) if ours else machine
            # Times 1.48 it is a normal deviation; outliers do not count.
            scatter = 1.4826 * median(abs(value - middle) for value in values)
            found[bench] = max(found[bench], scatter)
    return dict(found)


def _case(row: ReadRow) -> str:
    device = (row.model_extra or {}).get("device")
    return f"{row.bench} {row.case} {row.threads} {device}"


def _least(a: float, b: float) -> float:
    """Return the smaller of two changes; 0 where one is up and one is down."""
    if a * b <= 0:
        return 0.0
    return a if abs(a) < abs(b) else b
