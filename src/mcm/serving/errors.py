"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from mcm.errors import UserError, nearest
from mcm.safety.guard import Refused
from mcm.serving.intake import VideoRequest
from mcm.serving.live import LiveRequest
from mcm.serving.source import FIELD

log = logging.getLogger(__name__)

_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "idempotency_key_reused",
    413: "too_large",
    415: "unsupported_media_type",
    429: "queue_full",
}
_LONGEST_NAME = 60
REFUSED = "content_policy_violation"
"""Code of what the policy of `mcm.safety` does not allow."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error; what is no Unicode in its message is replaced."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    detail = ErrorDetail(
        message=message.encode("utf-8", "replace").decode(),
        type="rate_limit_error" if status == 429 else kind,
        param=param,
        code=code or _CODES.get(status),
    )
    content = ErrorBody(error=detail).model_dump()
    return JSONResponse(content, status, dict(headers or {}))


def add_handlers(app: FastAPI) -> None:
    """Make an app answer every failure in this shape."""
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)


async def _user_error(_: Request, error: Any) -> JSONResponse:
    message = str(error)
    field = message.partition(":")[0]
    param = field if field in (*VideoRequest.model_fields, FIELD) else None
    code = REFUSED if isinstance(error, Refused) else None
    return error_response(400, message, param=param, code=code)


async def _invalid(request: Request, error: Any) -> JSONResponse:
    """Tell the first fault of a body, a path or a query."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(path)[:_LONGEST_NAME] or "body"
    if fault["type"] == "extra_forbidden":
        asked = LiveRequest if request.url.path == "/v1/live" else VideoRequest
        guess = nearest(param, asked.model_fields)
        hint = f"; did you mean {guess}?" if guess else ""
        message = f"{param}: unknown; expected {', '.join(asked.model_fields)}{hint}"
    else:
        message = f"{param}: {fault['msg']}"
    return error_response(400, message, param=param)


async def _http_error(_: Request, error: Any) -> JSONResponse:
    return error_response(error.status_code, str(error.detail), headers=error.headers)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "internal error of the server; its log has more", code="internal")
