"""mmgrec in NVIDIA Triton Inference Server: what its dynamic batcher collects is one engine call.

A request has ``HISTORY`` ``[B, L]`` (ids as text; "" fills shorter ones up) and may have ``K``
``[B, 1]``. Its answer has ``ITEMS`` and ``SCORES`` ``[B, n]``, best first, where a row has fewer
than n filled up with "" and the lowest float, and ``CERTIFIED`` ``[B, 1]``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError, RequestError

K = 10
LOWEST = np.finfo(np.float32).min


@dataclass
class _User:
    """A row of a request; ``items``, ``scores`` and ``certified`` once it is answered."""

    request: int
    k: int
    history: list[Any]
    items: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    certified: bool = False


class TritonPythonModel:
    """What Triton's python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the run that config.pbtxt names."""
        config = json.loads(args["model_config"])
        self.engine = Engine.load(config["parameters"]["run"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests; users with the same k are one call, and a bad request fails alone."""
        users: list[_User] = []
        errors: dict[int, MMGRecError] = {}
        for number, request in enumerate(requests):
            try:
                users += self._users(number, request)
            except MMGRecError as error:
                errors[number] = error
        for k in {user.k for user in users}:
            self._answer([user for user in users if user.k == k], errors)
        return [
            _failed(errors[number])
            if number in errors
            else _response([user for user in users if user.request == number])
            for number in range(len(requests))
        ]

    def _users(self, number: int, request: Any) -> list[_User]:  # noqa: ANN401 - Triton's
        histories = pb_utils.get_input_tensor_by_name(request, "HISTORY").as_numpy()
        tensor = pb_utils.get_input_tensor_by_name(request, "K")
        wanted = [K] * len(histories) if tensor is None else tensor.as_numpy().reshape(-1).tolist()
        found = []
        for row, k in zip(histories, wanted, strict=True):
            history = [self.engine.item_ids.parse(_text(name)) for name in row if name]
            self.engine.item_ids.rows(history, "HISTORY")
            found.append(_User(number, k, history))
        return found

    def _answer(self, users: list[_User], errors: dict[int, MMGRecError]) -> None:
        try:
            found = self.engine.recommend([user.history for user in users], k=users[0].k)
        except MMGRecError as error:
            if len(users) == 1:
                errors[users[0].request] = error
            else:
                for user in users:
                    self._answer([user], errors)
            return
        for row, user in enumerate(users):
            user.items = [item for item in found.items[row] if item is not None]
            user.scores = found.scores[row, : len(user.items)].tolist()
            user.certified = bool(found.certified[row])


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise RequestError("an item id is not UTF-8", value=repr(name)) from None


def _response(users: list[_User]) -> Any:  # noqa: ANN401 - a class of Triton's
    width = max(len(user.items) for user in users)
    items = np.full((len(users), width), b"", object)
    scores = np.full((len(users), width), LOWEST, np.float32)
    for row, user in enumerate(users):
        items[row, : len(user.items)] = [str(item).encode() for item in user.items]
        scores[row, : len(user.items)] = user.scores
    certified = np.array([[user.certified] for user in users])
    return pb_utils.InferenceResponse(
        output_tensors=[
            pb_utils.Tensor("ITEMS", items),
            pb_utils.Tensor("SCORES", scores),
            pb_utils.Tensor("CERTIFIED", certified),
        ]
    )


def _failed(error: MMGRecError) -> Any:  # noqa: ANN401 - a class of Triton's
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))
