"""`mmgrec profile`: where the time of a request goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mmgrec.profiling.roof import Roof
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.decoding.searcher import Request
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ConfigError

ROUNDS = 50
WARM_UP = 3


@dataclass(frozen=True)
class Stage:
    """A part of a request: median seconds, floating-point operations, bytes read and written."""

    name: str
    seconds: float
    flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class RequestProfile:
    """Stages of one call for ``users`` users, in the order in which they run; one thread.

    ``seconds``: median of the whole call when nobody looks at stages.
    """

    users: int
    beam_width: int
    seconds: float
    stages: tuple[Stage, ...]

    def as_json(self, roof: Roof) -> dict[str, Any]:
        """Return the profile with each stage's share of the time and of the arithmetic roof."""
        whole = sum(stage.seconds for stage in self.stages)
        rows = [
            {
                "stage": stage.name,
                "seconds": stage.seconds,
                "share": stage.seconds / whole,
                "flops": stage.flops,
                "bytes": stage.bytes,
                "roof_share": stage.flops / roof.flops_per_s[1] / max(stage.seconds, 1e-12),
            }
            for stage in self.stages
        ]
        return {
            "users": self.users,
            "beam_width": self.beam_width,
            "seconds": self.seconds,
            "staged_seconds": whole,
            "stages": rows,
        }


def profile_request(
    engine: Engine, histories: Sequence[Sequence[Hashable]], k: int, beam_width: int
) -> RequestProfile:
    """Time a call's stages, on one thread.

    ::

        medians of ROUNDS warm calls each: the whole call as users make it; its Python parts;
        the native call with a clock between stages

    Raises
    ------
    ConfigError
        The engine does not search natively.
    """
    searcher = engine.searcher
    if not isinstance(searcher, NativeSearcher):
        raise ConfigError(
            "only the native backend tells its stages", value=searcher.backend, allowed="native"
        )

    def prepare() -> tuple[CatalogState, Request]:
        return engine.prepare(histories, k=k, beam_width=beam_width)

    state, request = prepare()
    found = searcher.search(state, request)
    asked = _median_seconds(prepare)
    called = _median_seconds(lambda: searcher.search(*prepare())) - asked
    answered = _median_seconds(lambda: engine.answer(state, found))
    whole = _median_seconds(lambda: engine.recommend(histories, k=k, beam_width=beam_width))
    native = _native_stages(searcher, state, request)
    # What handing arrays over and preparing filters takes.
    handed = called - sum(stage.seconds for stage in native)
    stages = (
        Stage("ids to rows", asked),
        Stage("filters and hand-over", max(handed, 0.0)),
        *native,
        Stage("rows to ids", answered),
    )
    return RequestProfile(len(histories), beam_width, whole, stages)


def _native_stages(searcher: NativeSearcher, state: CatalogState, request: Request) -> list[Stage]:
    rounds = [searcher.stages(state, request) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    return [
        Stage(name, float(np.median([seconds for _, seconds, _, _ in same])), flops, moved)
        for same in zip(*rounds, strict=True)
        for name, _, flops, moved in same[:1]
    ]


def _median_seconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(WARM_UP + ROUNDS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[WARM_UP:]))


def profile_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Lay one table per call out for people."""
    for profile in report["requests"]:
        users = profile["users"]
        table = Table(
            title=f"{users} user{'s' if users > 1 else ''}, {profile['beam_width']} beams: "
            f"{profile['seconds'] * 1e3:.3g} ms a call",
            caption="one thread, medians; of roof: arithmetic at the rate of a large product",
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("stage", no_wrap=True)
        for name in ("us", "of time", "MFLOP", "KB", "GFLOP/s", "of roof"):
            table.add_column(name, justify="right")
        for row in profile["stages"]:
            busy = row["flops"] > 0
            table.add_row(
                row["stage"],
                f"{row['seconds'] * 1e6:,.1f}",
                f"{row['share']:.1%}",
                f"{row['flops'] / 1e6:.3f}" if busy else "",
                f"{row['bytes'] / 1e3:,.0f}" if row["bytes"] else "",
                f"{row['flops'] / max(row['seconds'], 1e-12) / 1e9:.1f}" if busy else "",
                f"{row['roof_share']:.0%}" if busy else "",
            )
        yield table
