"""`mcm verify` over HTTP: one file in, the same report out."""

from __future__ import annotations

import tempfile
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request

from mcm.safety.verify import verify
from mcm.serving.errors import ErrorBody

MOST_FILE = 2**26
"""Bytes of a file that is looked at."""
_AT_ONCE = CapacityLimiter(2)
_ANY_FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(
    responses={status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 415)}
)


@router.post("/v1/verify", max_body_size=MOST_FILE, openapi_extra=_ANY_FILE)
async def verify_file(request: Request) -> dict[str, Any]:
    """Tell whether a file, the body as it is, bears a manifest or the watermark.

    The answer is what `mcm verify --json` prints. What is no video or picture is no error:
    nothing is found. The file is deleted before the answer is sent.
    """
    with tempfile.NamedTemporaryFile(prefix="mcm-verify-") as file:
        async for piece in request.stream():
            file.write(piece)
        file.flush()
        report = await run_sync(verify, file.name, limiter=_AT_ONCE)
    return {**report.as_dict(), "file": "body"}
