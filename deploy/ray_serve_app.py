"""mmgrec under Ray Serve: replicas that batch.

::

    pip install 'mmgrec-engine[batch]' 'ray[serve]'
    MMGREC_RUN=runs/ml-100k serve run deploy.ray_serve_app:app
    curl 'localhost:8000/?history=50,181&k=5'
"""

from __future__ import annotations

import os
from typing import Any

from ray import serve
from starlette.requests import Request

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=256)
class Recommender:
    """One engine per replica; requests that arrive together are one call."""

    def __init__(self, run: str) -> None:
        self.engine = Engine.load(run, threads=1)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer ``?history=ID,ID&k=10``."""
        query = request.query_params
        try:
            ids = [self.engine.item_ids.parse(i) for i in query.get("history", "").split(",") if i]
            self.engine.item_ids.rows(ids, "history")
            return await self.recommend((ids, int(query.get("k", "10"))))
        except (MMGRecError, ValueError) as error:
            return {"error": str(error)}

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def recommend(self, asked: list[tuple[list[Any], int]]) -> list[dict[str, Any]]:
        """Answer many; the longest list is cut to what each asked for."""
        found = self.engine.recommend([ids for ids, _ in asked], k=max(k for _, k in asked))
        return [
            {
                "items": found.items[row, :k].tolist(),
                "scores": found.scores[row, :k].tolist(),
                "certified": bool(found.certified[row]),
            }
            for row, (_, k) in enumerate(asked)
        ]


app = Recommender.bind(os.environ["MMGREC_RUN"])
