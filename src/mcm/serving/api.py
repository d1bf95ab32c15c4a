"""The HTTP API, in the shape of OpenAI's videos API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from mcm import __version__
from mcm.serving import verification, videos
from mcm.serving.access import FAULTS, Owner, Serving, owner_of
from mcm.serving.body import MOST_BODY
from mcm.serving.errors import ErrorBody, add_handlers
from mcm.serving.gate import Gate
from mcm.serving.keys import Keys
from mcm.serving.live import MEDIA_TYPE, LiveBusyError, LiveRequest
from mcm.serving.models import ServedModel
from mcm.serving.reading import readable
from mcm.serving.schemas import Health, Model, ModelList
from mcm.serving.service import Service

_COUNTING = CapacityLimiter(1)
"""Health is told whatever else waits for a thread."""


def build_app(service: Service, keys: Keys) -> FastAPI:
    """Return the HTTP app of a service; it starts and stops the service with itself."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="mcm",
        version=__version__,
        description="Few-step video generation; videos as in OpenAI's API, with fields of ours "
        "beside its own.",
        lifespan=lifespan,
        max_body_size=MOST_BODY,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.service, app.state.keys, app.state.began = service, keys, int(time.time())
    app.add_middleware(Gate, config=service.config, metrics=service.metrics)
    add_handlers(app)
    asking = [Depends(HTTPBearer(auto_error=False))] if keys.digests else []
    for routes in (router, videos.router, verification.router):
        app.include_router(routes, dependencies=[*asking, Depends(owner_of)])
    app.include_router(open_router)
    _correct(app.openapi())
    return app


open_router = APIRouter()
router = APIRouter(responses=FAULTS)


@readable(open_router, "/health")
async def health(service: Serving, response: Response) -> Health:
    """Tell whether jobs are worked on, and how many are in every state."""
    response.status_code = 200 if service.is_alive else 503
    jobs = await run_sync(service.store.counts, limiter=_COUNTING)
    return Health(status="ok" if service.is_alive else "failing", jobs=jobs)


@readable(router, "/metrics", response_class=PlainTextResponse)
def metrics(service: Serving) -> Response:
    """Return counts and times for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@readable(router, "/v1/models")
def list_models(request: Request, service: Serving) -> ModelList:
    """List the served models; the first is the default."""
    return ModelList(data=[_model(one, request) for one in service.models])


@readable(router, "/v1/models/{model}")
def retrieve_model(model: str, request: Request, service: Serving) -> Model:
    """Describe a model."""
    for one in service.models:
        if one.name == model:
            return _model(one, request)
    raise HTTPException(404, "no such model")


@router.get(
    "/v1/live",
    response_class=StreamingResponse,
    responses={
        200: {"content": {MEDIA_TYPE: {}}},
        429: {"model": ErrorBody, "description": "Somebody else watches; one stream at a time."},
    },
)
def live(
    asked: Annotated[LiveRequest, Query()],
    owner: Owner,
    service: Serving,
    sec_fetch_site: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """Watch a clip that goes on: JPEG frames as they are made, as an `img` element shows them."""
    if sec_fetch_site not in (None, "none", "same-origin"):
        raise HTTPException(403, "pages of other sites may not use this server")
    try:
        broadcast = service.live.open(asked, owner)
    except LiveBusyError:
        raise HTTPException(
            429, "somebody else watches; try again later", {"Retry-After": "10"}
        ) from None
    return StreamingResponse(broadcast, media_type=MEDIA_TYPE)


def _model(one: ServedModel, request: Request) -> Model:
    spec = one.model.backbone.spec
    return Model(
        id=one.name,
        created=request.app.state.began,
        role="student" if one.is_student else "teacher",
        teacher=one.teacher,
        steps=one.model.defaults.steps,
        size=f"{spec.width}x{spec.height}",
        frames=spec.frames,
        fps=spec.fps,
    )


def _correct(described: dict[str, Any]) -> None:
    """Say in the OpenAPI document that bad input gives 400, not 422, and every error is JSON."""
    for path in described["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            answers.pop("422", None)
            for status in answers.keys() - {"200"}:
                schema = next(iter(answers[status]["content"].values()))
                answers[status]["content"] = {"application/json": schema}
