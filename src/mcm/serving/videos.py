"""Routes of videos: made, followed, listed, downloaded, deleted."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from mcm.safety.formats import sidecar_of
from mcm.sampling.requests import slug
from mcm.serving.access import FAULTS, NAME, Found, Owner, Serving, find_job
from mcm.serving.body import DESCRIBED, MOST_UPLOAD, read_request
from mcm.serving.clips import TYPES
from mcm.serving.errors import ErrorBody
from mcm.serving.feed import News
from mcm.serving.intake import Format, VideoRequest
from mcm.serving.reading import Download, readable
from mcm.serving.schemas import Deleted, Event, Video, VideoList, video_of
from mcm.serving.service import Service
from mcm.serving.source import read_upload
from mcm.serving.store import COMPLETED, OPEN, QueueFullError, TokenReusedError
from mcm.serving.tables import Job

POLL_MS = 250
_AT_ONCE = CapacityLimiter(2)
"""Uploads are read and decoded a few at a time."""
_CONVERTING = CapacityLimiter(2)
"""Clips are converted a few at a time, so that all else has threads left."""
_ENDINGS = {
    "thumbnail": ".png",
    "c2pa": ".webm.c2pa",
    "frames": "-frames.zip",
    "sheet": "-sheet.zip",
}
_MANIFEST = {"Link": '<content?variant=c2pa>; rel="c2pa-manifest"'}
router = APIRouter(responses=FAULTS)


@router.post(
    "/v1/videos",
    openapi_extra=DESCRIBED,
    max_body_size=MOST_UPLOAD,
    responses={
        409: {"model": ErrorBody, "description": "The Idempotency-Key came with another request."},
        429: {"model": ErrorBody, "description": "The queue is full; see Retry-After."},
    },
)
async def create(
    request: Request,
    owner: Owner,
    service: Serving,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=200, description="The same key and request, the same job; empty: none."),
    ] = None,
) -> Video:
    """Accept a clip to be made; it survives a crash of the server from here on."""
    try:
        asked, upload = await read_request(request)
        key = idempotency_key or None
        if upload is None:
            job = await run_in_threadpool(service.submit, asked, owner, key)
        else:
            work = partial(_submit, service, asked, owner, key, upload)
            job = await run_sync(work, limiter=_AT_ONCE)
    except TokenReusedError:
        raise HTTPException(
            409, "Idempotency-Key: came with another request before; send a new key with this one"
        ) from None
    except QueueFullError:
        limit = service.config.queue_limit
        raise HTTPException(
            429, f"{limit} jobs are waiting", {"Retry-After": str(service.retry_after)}
        ) from None
    finally:
        await request.close()
    return _video(job, service)


@readable(router, "/v1/videos")
def list_videos(
    owner: Owner,
    service: Serving,
    after: Annotated[str | None, Query(pattern=NAME, description="The last video seen.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """List videos, the newest first unless asked otherwise."""
    start = None if after is None else find_job(after, owner, service)
    jobs = service.store.page(owner, start, limit + 1, order == "desc")
    data = [_video(job, service) for job in jobs[:limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=len(jobs) > limit)


@readable(router, "/v1/videos/{video_id}")
def retrieve(job: Found, service: Serving, response: Response) -> Video:
    """Describe a video and how far it is."""
    response.headers["openai-poll-after-ms"] = str(POLL_MS)
    return _video(job, service)


@router.delete("/v1/videos/{video_id}")
def delete(job: Found, service: Serving) -> Deleted:
    """Delete a video; if it is not finished, it is cancelled."""
    service.delete(job)
    return Deleted(id=job.id)


@router.post("/v1/videos/{video_id}/cancel")
def cancel(job: Found, owner: Owner, service: Serving) -> Video:
    """Cancel a video that is not finished; it becomes `failed` with the code `cancelled`."""
    service.cancel(job)
    return _video(find_job(job.id, owner, service), service)


@readable(
    router,
    "/v1/videos/{video_id}/content",
    response_class=FileResponse,
    responses={200: {"content": {kind: {} for kind in dict.fromkeys(TYPES.values())}}},
)
async def content(
    job: Found,
    service: Serving,
    variant: Literal["video", "thumbnail", "spritesheet", "c2pa"] = "video",
    format: Annotated[
        Format | None, Query(description="By default the one that the video was made with.")
    ] = None,
) -> FileResponse:
    """Download a finished video in any format, an image of it, or its sprite sheet (zip).

    `c2pa` is the signed manifest of the WebM, which that format cannot hold; save it beside the
    WebM as `NAME.webm.c2pa`.
    """
    if job.status != COMPLETED:
        raise HTTPException(400, f"the video is {job.status}, there is nothing to download")
    order = job.read_order()
    wanted = {"video": format or order.format, "spritesheet": "sheet"}.get(variant, variant)
    try:
        path = service.made(job, wanted)
        if path is None:
            path = await run_sync(service.file, job, wanted, limiter=_CONVERTING)
    except FileNotFoundError:
        raise HTTPException(404, f"no video {job.id}") from None
    if wanted == "c2pa" and not path.is_file():
        raise HTTPException(404, "no manifest: signing is switched off by the policy")
    return Download(
        path,
        media_type=TYPES[wanted],
        filename=f"{slug(order.prompt)}-{order.seed}{_ENDINGS.get(wanted, path.suffix)}",
        headers=_MANIFEST if sidecar_of(path).is_file() else None,
    )


@router.get(
    "/v1/videos/{video_id}/events",
    response_class=EventSourceResponse,
)
async def events(job: Found, owner: Owner, service: Serving) -> AsyncIterator[ServerSentEvent]:
    """Follow a video: `video.progress` after every step, then `video.completed` or `.failed`."""
    async for news in service.watch(job):
        if news.status in OPEN:
            yield ServerSentEvent(event="video.progress", data=_event(job, news))
        else:
            last = await run_in_threadpool(service.store.get, job.id, owner)
            data = None if last is None else _video(last, service)
            yield ServerSentEvent(event=f"video.{news.status}", data=data)


def _submit(
    service: Service, asked: VideoRequest, owner: str, key: str | None, upload: UploadFile
) -> Job:
    return service.submit(asked, owner, key, read_upload(upload))


def _video(job: Job, service: Service) -> Video:
    return video_of(job, service.news(job), 3600 * service.config.keep_hours)


def _event(job: Job, news: News) -> Event:
    shown = news.preview and base64.b64encode(news.preview).decode()
    return Event(
        id=job.id,
        status=news.status,
        progress=news.percent,
        step=news.step,
        steps=news.steps,
        preview=shown and f"data:image/webp;base64,{shown}",
    )
