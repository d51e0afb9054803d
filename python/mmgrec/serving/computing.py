"""From a batch of requests to their answers: what runs in the threads that compute."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from mmgrec.serving.batcher import Call, Job
from mmgrec.serving.models import Models, Served
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.requests import Recommendations, check_histories


@dataclass(frozen=True)
class UserItems:
    """One user's items, best first; ``scores`` are None where the model was not asked."""

    items: list[Hashable]
    scores: list[float] | None
    certified: bool = False
    expanded: int | None = None
    limit_hit: bool | None = None


@dataclass(frozen=True)
class Answer:
    """A request's results and the model that made them."""

    model: Served
    users: list[UserItems]


class Computing:
    """Answers batches with whatever model is in use when a batch begins."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def __call__(self, call: Call, jobs: list[Job]) -> list[Any]:
        """Return each job's answer, or its error.

        ::

            each job's ids are checked by themselves, so that a bad request fails alone
            users without a history get the most popular items
            the others: one engine call for all jobs
        """
        model = self._models.get()
        problems = [_problem(model.engine, job) for job in jobs]
        good = [job for job, problem in zip(jobs, problems, strict=True) if problem is None]
        try:
            answers = iter(_answers(model, call, good))
        except MMGRecError as error:
            # The filters that all share, or a request that only the engine could see through.
            if len(good) == 1:
                return [problem or error for problem in problems]
            answers = iter([self(call, [job])[0] for job in good])
        return [problem or next(answers) for problem in problems]


def _problem(engine: Engine, job: Job) -> MMGRecError | None:
    try:
        check_histories(job.histories, job.users)
        for place, history in enumerate(job.histories):
            engine.item_ids.rows(history, f"history {place}")
    except MMGRecError as error:
        return error
    return None


def _answers(model: Served, call: Call, jobs: Sequence[Job]) -> list[Answer]:
    histories = [history for job in jobs for history in job.histories]
    users = [user for job in jobs for user in job.users or [None] * job.num_users]
    asked = [place for place, history in enumerate(histories) if len(history)]
    results: list[UserItems | None] = [None] * len(histories)
    if asked:
        found = model.engine.recommend(
            [histories[place] for place in asked],
            users=[users[place] for place in asked],
            k=call.k,
            beam_width=call.beam_width,
            exclude_seen=call.exclude_seen,
            allow=call.allow,
            deny=call.deny,
            where=call.where,
            exact=call.exact_limit is not None,
            **({} if call.exact_limit is None else {"exact_limit": call.exact_limit}),
        )
        for row, place in enumerate(asked):
            results[place] = _user_items(found, row)
    if len(asked) < len(histories):
        popular = UserItems(model.popular(model.engine, call), None)
        results = [result or popular for result in results]
    ready = iter(result for result in results if result is not None)
    return [Answer(model, [next(ready) for _ in range(job.num_users)]) for job in jobs]


def _user_items(found: Recommendations, row: int) -> UserItems:
    items = [item for item in found.items[row].tolist() if item is not None]
    return UserItems(
        items,
        found.scores[row, : len(items)].tolist(),
        bool(found.certified[row]),
        None if found.expanded is None else int(found.expanded[row]),
        None if found.limit_hit is None else bool(found.limit_hit[row]),
    )
