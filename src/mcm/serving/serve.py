"""The work of `mcm serve`: load the models, listen, stop without losing a job."""

from __future__ import annotations

import socket

import uvicorn

from mcm.errors import UserError
from mcm.serving.api import build_app
from mcm.serving.config import ServeConfig
from mcm.serving.keys import Keys, read_keys
from mcm.serving.models import load_models
from mcm.serving.service import Service

_BACKLOG = 2048
_SECONDS_TO_CLOSE = 3


def serve(config: ServeConfig) -> None:
    """Serve until the process is told to end.

    Raises:
        UserError: A value, a model or the file of keys is wrong, the port is taken, or another
            server works in the folder.
    """
    config.check()
    keys = Keys() if config.keys is None else read_keys(config.keys)
    listener = _listen(config)
    service = Service(config, load_models(config))
    app = build_app(service, keys)
    if config.page:
        from mcm.serving.page import add_page

        add_page(app, service, keys)
    address = f"http://{config.host}:{listener.getsockname()[1]}"
    print(f"serving {', '.join(one.name for one in service.models)} on {address}", flush=True)
    settings = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_SECONDS_TO_CLOSE, server_header=False
    )
    _Server(settings, service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends event streams when it stops, instead of waiting for them."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        super().__init__(settings)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.hang_up()
        await super().shutdown(sockets)


def _listen(config: ServeConfig) -> socket.socket:
    """Take the port before the models are loaded, so that a taken one is told at once."""
    try:
        where = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(where[0], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where[4])
        listener.listen(_BACKLOG)
    except OSError as error:
        raise UserError(
            f"host, port: cannot listen on {config.host}:{config.port}: {error.strerror or error}"
        ) from None
    return listener
