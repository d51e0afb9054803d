"""`filtered_request`: what ten thousand denied items cost a whole request of one user.

The ids are numbers in random order. They come as a list or an array with every request, or as a
named filter that was set before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import polars as pl

from mmgrec.profiling.cases import Case
from mmgrec.profiling.engine_cases import WIDTHS
from mmgrec.profiling.engine_world import K, World
from mmgrec.profiling.trie_cases import DENIED
from mmgrec_engine.engine import Engine
from mmgrec_engine.model_folder import ModelFolder
from mmgrec_engine.requests import Recommendations

CALLS = 10
UNFILTERED = "native_unfiltered"


def filter_request_cases(world: World) -> Iterator[Callable[[], Case]]:
    """Yield the makers of a catalogue's cases; of one with fewer items than are denied, none."""
    if world.items <= DENIED:
        return
    engine = engine_of(world)
    for width in WIDTHS:
        yield partial(filter_request_case, engine, world, width)


def engine_of(world: World) -> Engine:
    """Return an engine over the catalogue; ids are its rows, shuffled."""
    ids = np.random.default_rng(3).permutation(world.items)
    items = pl.DataFrame({"item": ids, "popularity": np.zeros(world.items, np.int64)})
    folder = ModelFolder.of_model(world.model, world.trie, items, None)
    return Engine(folder, backend="native", threads=1)


def filter_request_case(engine: Engine, world: World, width: int) -> Case:
    """Make the case of one beam width: the same denied items, told in four ways."""
    rng = np.random.default_rng(4)
    ids = engine.items["item"].to_numpy()
    history = ids[world.histories(1)[0]].tolist()
    array = rng.choice(ids, DENIED, replace=False)
    listed = array.tolist()
    engine.set_filter("denied", array)  # type: ignore[arg-type]
    ask = partial(engine.recommend, [history], k=K, beam_width=width)
    calls = {
        "native_list": partial(ask, deny=listed),
        "native_ascending_list": partial(ask, deny=sorted(listed)),
        "native_array": partial(ask, deny=array),
        "native_named": partial(ask, where="not denied"),
    }
    return Case(
        bench="filtered_request",
        shape={"N": world.items, "B": 1, "M": width, "denied": len(listed), "k": K},
        ours=dict(calls),
        baselines={UNFILTERED: ask},
        check=partial(_check, calls, set(listed)),
        work=None,
        items=1,
        calls=CALLS,
        apart=True,
    )


def _check(calls: dict[str, partial[Recommendations]], denied: set[int]) -> None:
    """Raise where the ways differ in what they find, or a denied item is found."""
    answers = [call().items.tolist() for call in calls.values()]
    if any(answer != answers[0] for answer in answers):
        raise AssertionError("the same denied items gave different results")
    if denied & set(answers[0][0]):
        raise AssertionError("a denied item was recommended")
