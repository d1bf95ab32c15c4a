"""Who asks, and for which video: what routes depend on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Request

from mcm.serving.errors import ErrorBody
from mcm.serving.keys import Keys
from mcm.serving.service import Service
from mcm.serving.tables import Job

FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 415)
}
"""Errors that every route may answer with."""


def check_key(request: Request, keys: Keys) -> str:
    """Return whose request it is.

    Raises:
        HTTPException: It has no valid key.
    """
    owner = keys.owner(request.headers.get("authorization", ""))
    if owner is None:
        raise HTTPException(
            401, "a valid API key is needed: Bearer KEY", {"WWW-Authenticate": 'Basic realm="mcm"'}
        )
    return owner


async def owner_of(request: Request) -> str:
    """Return whose request it is; errors as `check_key`."""
    return check_key(request, request.app.state.keys)


async def service_of(request: Request) -> Service:
    """Return the service behind the app."""
    service: Service = request.app.state.service
    return service


NAME = r"^[A-Za-z0-9_\-]{1,64}$"
"""Pattern of the name of a job."""

Owner = Annotated[str, Depends(owner_of)]
Serving = Annotated[Service, Depends(service_of)]
Id = Annotated[str, Path(pattern=NAME, description="Name of the job.")]


def find_job(video_id: Id, owner: Owner, service: Serving) -> Job:
    """Return the job of a path.

    Raises:
        HTTPException: The owner has none of that name.
    """
    job = service.store.get(video_id, owner)
    if job is None:
        raise HTTPException(404, f"no video {video_id}")
    return job


Found = Annotated[Job, Depends(find_job)]
