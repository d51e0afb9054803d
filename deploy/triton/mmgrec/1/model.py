"""mmgrec in NVIDIA Triton Inference Server: a scheduling round is one engine call."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError

K = 10


class TritonPythonModel:
    """What Triton's python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the run that config.pbtxt names."""
        config = json.loads(args["model_config"])
        self.engine = Engine.load(config["parameters"]["run"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests; those with the same k are one call, and a bad one fails alone."""
        answers: list[Any] = [None] * len(requests)
        groups: dict[int, list[tuple[int, list[Any]]]] = {}
        for index, request in enumerate(requests):
            tensor = pb_utils.get_input_tensor_by_name(request, "K")
            k = K if tensor is None else int(tensor.as_numpy().reshape(-1)[0])
            names = pb_utils.get_input_tensor_by_name(request, "HISTORY").as_numpy().reshape(-1)
            try:
                history = [self.engine.item_ids.parse(name.decode()) for name in names]
                self.engine.item_ids.rows(history, "HISTORY")
                groups.setdefault(k, []).append((index, history))
            except MMGRecError as error:
                answers[index] = _failed(error)
        for k, members in groups.items():
            self._answer(k, members, answers)
        return answers

    def _answer(self, k: int, members: list[tuple[int, list[Any]]], answers: list[Any]) -> None:
        try:
            found = self.engine.recommend([history for _, history in members], k=k)
        except MMGRecError as error:
            if len(members) == 1:
                answers[members[0][0]] = _failed(error)
                return
            for member in members:
                self._answer(k, [member], answers)
            return
        for row, (index, _) in enumerate(members):
            items = [item for item in found.items[row] if item is not None]
            answers[index] = pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor("ITEMS", np.array([str(i).encode() for i in items], object)),
                    pb_utils.Tensor("SCORES", found.scores[row, : len(items)]),
                    pb_utils.Tensor("CERTIFIED", found.certified[row : row + 1]),
                ]
            )


def _failed(error: MMGRecError) -> Any:  # noqa: ANN401 - a class of Triton's
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))
