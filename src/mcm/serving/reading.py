"""Routes that are read from: HEAD beside GET, and files that may go before they are sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_OPEN_FILES = Path("/dev/fd")
"""Where POSIX names the files that a process holds open, deleted ones too."""


def readable(to: APIRouter, path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that lets a router answer GET, and HEAD the same without a body.

    Args:
        to: The router.
        path: Of the route.
        **options: As `APIRouter.get` takes them.
    """

    def add(endpoint: Endpoint) -> Endpoint:
        to.add_api_route(path, endpoint, methods=["GET"], **options)
        to.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **options)
        return endpoint

    return add


class Download(FileResponse):
    """A file of a clip, or 404 where it was deleted; deleted while it is sent, it arrives whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            HTTPException: It is not there any more.
        """
        try:
            held = await run_in_threadpool(open, self.path, "rb")
        except FileNotFoundError:
            raise HTTPException(404, "the video was deleted") from None
        with held:
            if _OPEN_FILES.is_dir():
                self.path = _OPEN_FILES / str(held.fileno())
            await super().__call__(scope, receive, send)
