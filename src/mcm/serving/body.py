"""The body of a request for a clip: JSON, or a form that may bring a file to edit."""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile

from mcm.serving.intake import VideoRequest
from mcm.serving.source import FIELD

logging.getLogger("python_multipart").setLevel(logging.ERROR)
"""Clients are told of their broken forms; the log is not."""
MOST_BODY = 2**18
"""Bytes of a body without a file."""
MOST_UPLOAD = 2**24
"""Bytes of a body with one."""
_MOST_FIELDS = 50
_SCHEMA = VideoRequest.model_json_schema()
_UPLOAD = {
    "type": "string",
    "format": "binary",
    "description": "A video or picture to edit; cropped and resampled to the size asked for.",
}
_FORM_SCHEMA = {**_SCHEMA, "properties": {**_SCHEMA["properties"], FIELD: _UPLOAD}}
DESCRIBED = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "multipart/form-data": {"schema": _FORM_SCHEMA},
        },
    }
}
"""What the OpenAPI document says of it."""


async def read_request(request: Request) -> tuple[VideoRequest, UploadFile | None]:
    """Read a body as JSON, strictly, or as a form, whose values are text and perhaps a file.

    Raises:
        ValidationError: A value is wrong.
        HTTPException: The body is too long, no JSON and no form, or no UTF-8.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return VideoRequest.model_validate_json(await _short_body(request), strict=True), None
    if kind == "application/x-www-form-urlencoded":
        return VideoRequest.model_validate(_fields(await _short_body(request))), None
    if kind != "multipart/form-data":
        raise HTTPException(415, "content-type: expected application/json or multipart/form-data")
    form = await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=MOST_BODY)
    values = dict(form)
    upload = values.pop(FIELD, None)
    if isinstance(upload, str):
        raise HTTPException(400, f"{FIELD}: expected a file")
    return VideoRequest.model_validate(values), upload


def _fields(form: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            form.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except UnicodeDecodeError:
        raise HTTPException(400, "the form is no UTF-8") from None
    except ValueError:
        raise HTTPException(400, f"the form has more than {_MOST_FIELDS} fields") from None
    return dict(pairs)


async def _short_body(request: Request) -> bytes:
    """Return a body that holds no file."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise HTTPException(413, f"the body is longer than {MOST_BODY} bytes")
    return bytes(body)
