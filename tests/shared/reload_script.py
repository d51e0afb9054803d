"""Reloads a model so often and says how much memory that takes: reload_script.py RUN."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from mmgrec.profiling.soak import resident_bytes
from mmgrec.serving import heap
from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.models import Models
from mmgrec.serving.options import ServeOptions, Worker


async def _main(run: Path) -> None:
    heap.keep_large_memory_apart()
    models = Models(ServeOptions(run, threads=1), Worker(), Metrics(), FilterStore(run / "filters"))
    assert await models.load_first(), models.error
    memory = []
    for times in (20, 20, 20):
        for _ in range(times):
            await models.reload()
        memory.append(resident_bytes())
    await models.close()
    print(json.dumps(memory))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
