"""`mmgrec profile`: where the time of a request goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from mmgrec.profiling.roof import Roof
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ConfigError

ROUNDS = 200
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

        ROUNDS times: the call as users make it, then the same with a clock between stages, so that
        a slow phase of the machine slows both;  medians

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

    rounds = [_round(engine, searcher, histories, k, beam_width) for _ in range(WARM_UP + ROUNDS)]
    kept = rounds[WARM_UP:]
    stages = tuple(
        Stage(same[0].name, _median(same), same[0].flops, same[0].bytes)
        for same in zip(*(stages for _, stages in kept), strict=True)
    )
    seconds = float(np.median([seconds for seconds, _ in kept]))
    return RequestProfile(len(histories), beam_width, seconds, stages)


def _round(
    engine: Engine,
    searcher: NativeSearcher,
    histories: Sequence[Sequence[Hashable]],
    k: int,
    beam_width: int,
) -> tuple[float, list[Stage]]:
    """Make the call once as users make it and once by stage; return its seconds and its stages."""
    begin = time.perf_counter()
    state, request = engine.prepare(histories, k=k, beam_width=beam_width)
    asked = time.perf_counter()
    found = searcher.search(state, request)
    searched = time.perf_counter()
    engine.answer(state, found)
    done = time.perf_counter()
    native = [Stage(*stage) for stage in searcher.stages(state, request)]
    # What preparing filters and handing arrays over takes.
    handed = searched - asked - sum(stage.seconds for stage in native)
    return done - begin, [
        Stage("ids to rows", asked - begin),
        Stage("filters and hand-over", max(handed, 0.0)),
        *native,
        Stage("rows to ids", done - searched),
    ]


def _median(stages: Sequence[Stage]) -> float:
    return float(np.median([stage.seconds for stage in stages]))


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
