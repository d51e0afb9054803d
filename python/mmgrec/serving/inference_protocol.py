"""The Open Inference Protocol, version 2, with Triton's extension for binary tensors.

Inputs: ``history`` ``[B, L]`` of item ids (INT64, or BYTES where ids are strings), with
``history_length`` ``[B]`` where rows are shorter than L; or ``user`` ``[B]`` of known users.
Parameters of the request: k, beam_width, exclude_seen, where, exact, exact_limit, deadline_ms.
Outputs: ``item`` and ``score`` ``[B, k]``, ``certified`` and ``count`` ``[B]``. Rows hold ``count``
items; what follows is 0 or "" with the lowest score there is.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pydantic_core
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from mmgrec.serving.bodies import parse, read_body
from mmgrec.serving.computing import UserItems
from mmgrec.serving.models import Served
from mmgrec.serving.openapi import body_of, problems
from mmgrec.serving.problems import Problem
from mmgrec.serving.recommend import ask
from mmgrec.serving.schemas import RecommendRequest
from mmgrec.serving.serving import Serving, serving_of
from mmgrec.serving.tensors import DTYPES, from_bytes, from_json, to_bytes
from mmgrec_engine import __version__

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
JSON_SIZE = "inference-header-content-length"
_DIGITS = re.compile(r"[0-9]{1,19}")
_LOWEST = float(np.finfo(np.float32).min)
_SETTINGS = ("k", "beam_width", "exclude_seen", "where", "exact", "exact_limit", "deadline_ms")


class Tensor(BaseModel):
    """An input; ``data`` is left out where bytes follow the JSON."""

    model_config = ConfigDict(extra="ignore")

    name: str
    shape: list[int] = Field(min_length=1, max_length=2)
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(BaseModel):
    """An output that is wanted."""

    model_config = ConfigDict(extra="ignore")

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """An inference request."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] | None = None


@router.get("")
async def server() -> dict[str, Any]:
    """Describe the server."""
    return {"name": "mmgrec", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/models/{name}", responses=problems(404, 503))
@router.get("/models/{name}/versions/{version}", responses=problems(404, 503))
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Describe the model's tensors."""
    serving = serving_of(request)
    model = _model(serving, name, version)
    ids = _id_type(model)

    def tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": list(shape)}

    inputs = [tensor("history", ids, -1, -1), tensor("history_length", "INT32", -1)]
    if len(model.users):
        inputs.append(tensor("user", "INT64" if model.users.id_type is int else "BYTES", -1))
    return {
        "name": serving.options.model_name,
        "versions": [model.version],
        "platform": "mmgrec",
        "inputs": inputs,
        "outputs": [
            tensor("item", ids, -1, -1),
            tensor("score", "FP32", -1, -1),
            tensor("certified", "BOOL", -1),
            tensor("count", "INT32", -1),
        ],
    }


@router.get("/models/{name}/ready", response_class=Response, responses=problems(404, 503))
@router.get(
    "/models/{name}/versions/{version}/ready", response_class=Response, responses=problems(404, 503)
)
async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
    """Say whether the model answers."""
    _model(serving_of(request), name, version)
    return Response()


_INFER: dict[str, Any] = {
    "openapi_extra": body_of(InferRequest),
    "responses": problems(400, 404, 408, 413, 422, 429, 503, 504),
}


@router.post("/models/{name}/infer", **_INFER)
@router.post("/models/{name}/versions/{version}/infer", **_INFER)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Recommend, from tensors to tensors."""
    serving = serving_of(request)
    _model(serving, name, version)
    asked, inputs = _read(request, await read_body(request, serving.options.limits))
    answer = await ask(serving, request, _as_request(asked, inputs))
    outputs = _outputs(_id_type(answer.model), answer.users)
    head = {"model_name": serving.options.model_name, "model_version": answer.model.version}
    if asked.id is not None:
        head["id"] = asked.id
    return _respond(head, asked, outputs)


def _model(serving: Serving, name: str, version: str | None) -> Served:
    model = serving.models.get()
    if name != serving.options.model_name:
        raise Problem(404, "unknown model", value=name, allowed=serving.options.model_name)
    if version is not None and version != model.version:
        raise Problem(404, "unknown version", value=version, allowed=model.version)
    return model


def _id_type(model: Served) -> str:
    return "INT64" if model.engine.item_ids.type is int else "BYTES"


def _read(request: Request, body: bytes) -> tuple[InferRequest, dict[str, NDArray[Any]]]:
    """Take JSON and the tensors' bytes behind it apart."""
    size = request.headers.get(JSON_SIZE, str(len(body)))
    if not _DIGITS.fullmatch(size) or int(size) > len(body):
        raise Problem(400, f"{JSON_SIZE} is wrong", value=size, allowed=f"0 to {len(body)}")
    asked, rest = parse(InferRequest, body[: int(size)]), body[int(size) :]
    inputs = {}
    for tensor in asked.inputs:
        if tensor.datatype != "BYTES" and tensor.datatype not in DTYPES:
            allowed = ", ".join(["BYTES", *DTYPES])
            raise Problem(400, "unknown datatype", value=tensor.datatype, allowed=allowed)
        if min(tensor.shape) < 0:
            raise Problem(400, f"the shape of {tensor.name!r} is wrong", value=tensor.shape)
        if tensor.data is not None:
            values = from_json(tensor.name, tensor.datatype, tensor.shape, tensor.data)
        else:
            count = tensor.parameters.get("binary_data_size")
            if type(count) is not int or not 0 <= count <= len(rest):
                raise Problem(400, f"the input {tensor.name!r} has no data", value=count)
            values = from_bytes(tensor.name, tensor.datatype, tensor.shape, rest[:count])
            rest = rest[count:]
        inputs[tensor.name] = values
    if rest:
        raise Problem(400, "bytes follow that belong to no input", value=len(rest))
    return asked, inputs


def _as_request(asked: InferRequest, inputs: dict[str, NDArray[Any]]) -> RecommendRequest:
    unknown = inputs.keys() - {"history", "history_length", "user"}
    if unknown:
        raise Problem(
            400, "unknown input", value=min(unknown), allowed="history, history_length, user"
        )
    given: dict[str, Any] = {n: asked.parameters[n] for n in _SETTINGS if n in asked.parameters}
    if "history" in inputs:
        given["histories"] = _histories(inputs["history"], inputs.get("history_length"))
    if "user" in inputs:
        given["users"] = inputs["user"].ravel().tolist()
    return parse(RecommendRequest, pydantic_core.to_json(given))


def _histories(items: NDArray[Any], lengths: NDArray[Any] | None) -> list[list[Any]]:
    rows: list[list[Any]] = np.atleast_2d(items).tolist()
    if lengths is None:
        return rows
    counts = lengths.ravel().tolist()
    whole = lengths.dtype.kind in "iu" and len(counts) == len(rows)
    if not whole or any(not 0 <= count <= items.shape[-1] for count in counts):
        raise Problem(400, "history_length is wrong", allowed="[B] integers of 0 to L")
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


def _outputs(ids: str, users: list[UserItems]) -> dict[str, tuple[str, NDArray[Any]]]:
    width = max((len(user.items) for user in users), default=0)
    items = np.full((len(users), width), 0 if ids == "INT64" else "", object)
    scores = np.full((len(users), width), _LOWEST, np.float32)
    for row, user in enumerate(users):
        items[row, : len(user.items)] = user.items
        if user.scores is not None:
            scores[row, : len(user.items)] = user.scores
    certified = np.array([user.certified for user in users], bool)
    counts = np.array([len(user.items) for user in users], np.int32)
    return {
        "item": (ids, items),
        "score": ("FP32", scores),
        "certified": ("BOOL", certified),
        "count": ("INT32", counts),
    }


def _respond(
    head: dict[str, Any], asked: InferRequest, outputs: dict[str, tuple[str, NDArray[Any]]]
) -> Response:
    all_binary = asked.parameters.get("binary_data_output") is True
    wanted = asked.outputs or [Wanted(name=name) for name in outputs]
    described, raw = [], []
    for one in wanted:
        if one.name not in outputs:
            raise Problem(400, "unknown output", value=one.name, allowed=", ".join(outputs))
        datatype, values = outputs[one.name]
        entry: dict[str, Any] = {"name": one.name, "datatype": datatype}
        entry["shape"] = list(values.shape)
        if one.parameters.get("binary_data", all_binary) is True:
            raw.append(to_bytes(datatype, values))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = values.ravel().tolist()
        described.append(entry)
    text = pydantic_core.to_json({**head, "outputs": described})
    if not raw:
        return Response(text, media_type="application/json")
    headers = {JSON_SIZE: str(len(text))}
    return Response(b"".join([text, *raw]), headers=headers, media_type="application/octet-stream")
