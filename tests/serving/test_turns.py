"""Workers that load: one after the other, with pauses between the steps."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from mmgrec.serving import models
from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.models import Models, Served
from mmgrec.serving.options import ServeOptions, Worker
from mmgrec.serving.turns import Pauses, turn


def test_one_has_its_turn_and_the_next_waits_for_its_end(tmp_path: Path) -> None:
    said: list[str] = []

    async def first(begun: asyncio.Event, go: asyncio.Event) -> None:
        async with turn(tmp_path / "turns") as mine:
            assert mine
            begun.set()
            await go.wait()
            said.append("first")

    async def second() -> None:
        async with turn(tmp_path / "turns") as mine:
            assert mine
            said.append("second")

    async def main() -> None:
        begun, go = asyncio.Event(), asyncio.Event()
        one = asyncio.create_task(first(begun, go))
        await begun.wait()
        async with turn(tmp_path / "turns", most_seconds=0.05) as mine:
            assert not mine  # whoever hangs does not hold up the others for good
        other = asyncio.create_task(second())
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(one, other)

    asyncio.run(main())
    assert said == ["first", "second"]


def test_who_is_alone_need_not_wait() -> None:
    async def main() -> None:
        async with turn(None) as mine, turn(None) as mine_too:
            assert mine
            assert mine_too

    asyncio.run(main())


def test_workers_load_one_after_the_other(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, paused = threading.Barrier(2), threading.Event()
    met: list[bool] = []
    load = models.load

    def watched(options: ServeOptions, pause: models.Callable[[], None]) -> Served:
        try:
            both.wait(1.0)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)

        def rest() -> None:
            paused.set()
            pause()

        return load(options, rest)

    async def main() -> None:
        made = []
        for number in (0, 1):
            worker = Worker(number, str(tmp_path / "editor.sock"))
            filters = FilterStore(tmp_path / "filters")
            each = Models(ServeOptions(run_folder, threads=1), worker, Metrics(), filters)
            assert await each.load_first()
            made.append(each)
        before = [each.current for each in made]
        monkeypatch.setattr(models, "load", watched)
        await asyncio.gather(*(each.reload() for each in made))
        for each, old in zip(made, before, strict=True):
            assert each.current is not old
            await each.close()

    asyncio.run(main())
    assert met == [False, False]
    assert paused.is_set()


def test_a_pause_goes_with_what_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    clock = iter([1.0, 1.01, 1.01, 9.0, 9.0])  # read before and after every step
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", rests.append)
    pause = Pauses()
    pause()
    pause()
    assert rests == pytest.approx([0.03, 1.0])  # three times as long, a second at most
