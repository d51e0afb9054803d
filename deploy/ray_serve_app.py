"""mmgrec under Ray Serve: replicas that batch.

::

    pip install mmgrec-engine 'ray[serve]'
    MMGREC_RUN=$PWD/runs/ml-100k serve run deploy.ray_serve_app:app
    curl 'localhost:8000/?history=50,181&k=5'
"""

from __future__ import annotations

import os
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError, RequestError

MOST = 1000


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=256)
class Recommender:
    """One engine per replica; requests that arrive together are one call."""

    def __init__(self, run: str) -> None:
        self.engine = Engine.load(run, threads=1)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer ``?history=ID,ID&k=10``; what cannot be answered fails here, alone."""
        query = request.query_params
        try:
            history = self._history(query.get("history", ""))
            return JSONResponse(await self.recommend((history, _k(query.get("k", "10")))))
        except MMGRecError as error:
            return JSONResponse({"error": str(error)}, status_code=422)

    def _history(self, text: str) -> list[Any]:
        history = [self.engine.item_ids.parse(name) for name in text.split(",") if name]
        if not history:
            raise RequestError("the history is empty", remedy="send ?history=ID,ID")
        self.engine.item_ids.rows(history, "history")
        return history

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def recommend(self, asked: list[tuple[list[Any], int]]) -> list[dict[str, Any]]:
        """Answer many; the longest list is cut to what each asked for."""
        found = self.engine.recommend([ids for ids, _ in asked], k=max(k for _, k in asked))
        answers = []
        for row, (_, k) in enumerate(asked):
            items = [item for item in found.items[row, :k].tolist() if item is not None]
            scores, certified = found.scores[row, : len(items)], bool(found.certified[row])
            answers.append({"items": items, "scores": scores.tolist(), "certified": certified})
        return answers


def _k(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise RequestError("k is out of range", value=text, allowed=f"1 to {MOST}")
    return int(text)


app = Recommender.bind(os.environ["MMGREC_RUN"])
