"""Whole requests: `engine_latency` one user at a time, `engine_batch` many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from mmgrec.profiling.cases import Case
from mmgrec.profiling.engine_hf import INSTALLED
from mmgrec.profiling.engine_work import request_work
from mmgrec.profiling.engine_world import LENGTH, K, World, common_share
from mmgrec.profiling.trie_keys import SIZES

WIDTHS = (10, 20, 50)
BATCH = 64
CALLS = {True: 10, False: 2}
"""Requests in a row, of one user or of many: under load nothing cools down between two of them."""

AGREEMENT, NARROW_AGREEMENT = 0.99, 0.9
"""Share of results that must be those of torch: rounding swaps near ties, narrow weights more."""


def engine_cases(world: World) -> Iterator[Callable[[], Case]]:
    """Yield the makers of a catalogue's cases."""
    for users in (1, BATCH):
        for width in WIDTHS:
            yield partial(engine_case, world, users, width)


def engine_case(world: World, users: int, width: int) -> Case:
    """Make the case of one batch size and beam width."""
    ours = {"native": world.native(users, width)}
    for precision in world.narrow:
        ours[f"native_{precision}"] = world.native(users, width, precision)
    baselines: dict[str, Callable[[], object]] = {"torch": world.torch(users, width)}
    if INSTALLED:
        baselines["hf_generate"] = world.generate(users, width)
    return Case(
        bench="engine_latency" if users == 1 else "engine_batch",
        shape={"N": world.items, "B": users, "M": width, "L": LENGTH, "k": K},
        ours=dict(ours),
        baselines=baselines,
        check=partial(check, world, users, width),
        work=request_work(world.model.config, world.vectors.shape[1], SIZES, LENGTH, width, users),
        items=users,
        calls=CALLS[users == 1],
        apart=True,
    )


def check(world: World, users: int, width: int) -> None:
    """Raise where our results differ from torch's, or Hugging Face generates no items."""
    theirs = world.torch(users, width)()
    for precision in ("fp32", *world.narrow):
        common = common_share(world.native(users, width, precision)(), theirs)
        if common < (AGREEMENT if precision == "fp32" else NARROW_AGREEMENT):
            raise AssertionError(
                f"native {precision} and torch have {common:.1%} of the results in common only"
            )
    if INSTALLED and (world.generate(users, width)() < 0).any():
        raise AssertionError("generate made a tuple that is no item")
