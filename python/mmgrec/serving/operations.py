"""For whoever runs the server: health, metrics, the model in use, reload."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mmgrec.serving import metrics
from mmgrec.serving.access import check_token
from mmgrec.serving.openapi import problems
from mmgrec.serving.problems import Problem
from mmgrec.serving.schemas import ModelInfo, ReloadAnswer
from mmgrec.serving.serving import serving_of
from mmgrec_engine.errors import ArtifactError

router = APIRouter(tags=["operations"])


@router.get("/v2/health/live", response_class=Response)
async def live() -> Response:
    """Say that the process answers."""
    return Response()


@router.get("/v2/health/ready", response_class=Response, responses=problems(503))
async def ready(request: Request) -> Response:
    """Say whether requests are answered: not while loading, not while draining."""
    serving = serving_of(request)
    serving.models.get()
    if serving.draining:
        raise Problem(503, "the server is about to stop")
    return Response()


@router.get("/metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """Report all figures, of all workers."""
    return Response(serving_of(request).metrics.text(), media_type=metrics.CONTENT_TYPE)


@router.get("/v1/model", responses=problems(503))
async def model(request: Request) -> ModelInfo:
    """Describe the model in use."""
    serving = serving_of(request)
    served = serving.models.get()
    engine = served.engine
    try:
        modalities = engine.modalities
    except ArtifactError:
        modalities = None  # written by a version that did not keep its tokeniser
    return ModelInfo(
        name=serving.options.model_name,
        version=served.version,
        items=engine.num_items,
        known_users=len(served.users),
        id_type="integer" if engine.item_ids.type is int else "string",
        max_history=engine.config.max_history,
        backend=engine.searcher.backend,
        precision=serving.options.precision,
        modalities=modalities,
        columns=engine.items.columns,
    )


@router.post("/v1/reload", responses=problems(401, 403, 409, 503))
async def reload(request: Request) -> ReloadAnswer:
    """Take the artifact on disk into use now; other workers see it within a moment."""
    serving = serving_of(request)
    check_token(request, serving.options.token)
    serving.models.get()
    changed = await serving.models.reload()
    return ReloadAnswer(version=serving.models.get().version, changed=changed)
