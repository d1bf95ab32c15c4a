"""`mcm verify` over HTTP: a file in, and the manifest beside it if it has one; its report out."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile

from mcm.safety.examiner import Examiner
from mcm.safety.formats import sidecar_of
from mcm.safety.report import Report
from mcm.serving.access import FAULTS

MOST_FILE = 2**26
"""Bytes of a file that is looked at, together with its manifest."""
FILE, MANIFEST = "file", "c2pa"
"""Parts of a form: the file, and the manifest that stood beside it."""
_NAME = "body"
_EXAMINERS = 2
_AT_ONCE = CapacityLimiter(_EXAMINERS)
_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {FILE: _BINARY, MANIFEST: _BINARY},
    "required": [FILE],
    "additionalProperties": False,
}
_ANY_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}, "text/plain": {}}},
    **FAULTS,
}

router = APIRouter(responses=_ANSWERS)
_free: SimpleQueue[Examiner] = SimpleQueue()
for _ in range(_EXAMINERS):
    _free.put(Examiner())


@router.post(
    "/v1/verify",
    max_body_size=MOST_FILE,
    openapi_extra=_ANY_FILE,
    response_class=Response,
)
async def verify_file(request: Request) -> Response:
    """Tell whether a file bears a manifest or the watermark.

    The file is the body as it is, or the part `file` of a form, whose part `c2pa` may be the
    manifest that stood beside it, as that of a WebM does. The answer is what `mcm verify --json`
    prints, or what `mcm verify` prints where `Accept` asks for `text/plain`. What is no video or
    picture is no error: nothing is found. The file is deleted before the answer is sent.
    """
    with tempfile.TemporaryDirectory(prefix="mcm-verify-") as folder:
        path = Path(folder) / _NAME
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            await _keep_form(request, path)
        else:
            with path.open("wb") as file:
                async for piece in request.stream():
                    file.write(piece)
        report = replace(await run_sync(_examined, path, limiter=_AT_ONCE), file=_NAME)
    if "text/plain" in request.headers.get("accept", ""):
        return PlainTextResponse(report.as_text())
    return JSONResponse(report.as_dict())


async def _keep_form(request: Request, path: Path) -> None:
    """Write the parts of a form: a file and what stands beside it.

    Raises:
        HTTPException: There is no part `file`, or one is not known.
    """
    async with request.form(max_files=2, max_fields=0) as form:
        if unknown := sorted(form.keys() - {FILE, MANIFEST}):
            raise HTTPException(400, f"{unknown[0]}: unknown part, expected {FILE} or {MANIFEST}")
        if not isinstance(form.get(FILE), UploadFile):
            raise HTTPException(400, f"{FILE}: missing, expected the file to verify")
        for name, target in ((FILE, path), (MANIFEST, sidecar_of(path))):
            part = form.get(name)
            if isinstance(part, UploadFile):
                with target.open("wb") as file:
                    await run_sync(shutil.copyfileobj, part.file, file)


def _examined(path: Path) -> Report:
    examiner = _free.get()
    try:
        return examiner.verify(path)
    finally:
        _free.put(examiner)
