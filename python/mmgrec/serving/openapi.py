"""The OpenAPI document's parts that FastAPI cannot see: bodies that handlers read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mmgrec.serving.problems import MEDIA_TYPE, TITLES, ProblemDocument

_BODIES: list[type[BaseModel]] = []
_SCHEMAS = "#/components/schemas/"


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body."""
    _BODIES.append(model)
    content = {"application/json": {"schema": {"$ref": _SCHEMAS + model.__name__}}}
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, extra = models_json_schema(
            [(model, "validation") for model in dict.fromkeys(_BODIES)],
            ref_template=_SCHEMAS + "{model}",
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= extra.get("$defs", {})
        schemas["Problem"] = ProblemDocument.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema
