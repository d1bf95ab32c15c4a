"""What every HTTP request passes first: no other site's page may use a server on this machine.

A page of any site can make its reader's browser send requests to 127.0.0.1, and with a name of
its own that it lets point there, read the answers. So the name asked for must be one of this
machine's, and a request that a page makes must come from this server's own page.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcm.serving.config import ServeConfig
from mcm.serving.errors import error_response
from mcm.serving.metrics import Metrics

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Gate:
    """ASGI middleware that refuses other sites and counts requests."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._names = (*_LOCAL_NAMES, config.host) if config.is_local else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        reason = self._refusal(scope)
        app = self._app if reason is None else error_response(403, reason)
        try:
            await app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(_known(scope["method"]), route, status)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._names is not None and _name(f"//{host}") not in self._names:
            return "host: this server answers to names of its own machine only"
        foreign = origin is not None and urlsplit_or_none(origin) != host
        if foreign and scope["method"] not in _SAFE:
            return "origin: pages of other sites may not use this server"
        return None


def urlsplit_or_none(address: str) -> str | None:
    """Return host and port of an address, or ``None`` if it is malformed."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _known(method: str) -> str:
    """Return a method to count under; clients can invent any number of others."""
    return method if method in (*_SAFE, "POST", "DELETE") else "other"
