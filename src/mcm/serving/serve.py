"""The work of `mcm serve`: load the models, listen, stop without losing a job."""

from __future__ import annotations

import socket
from contextlib import closing

import uvicorn

from mcm.errors import UserError
from mcm.serving.api import build_app
from mcm.serving.config import ServeConfig
from mcm.serving.keys import Keys, read_keys
from mcm.serving.models import Models, load_models
from mcm.serving.room import Room
from mcm.serving.service import Service

_BACKLOG = 2048
_SECONDS_TO_CLOSE = 3


def serve(config: ServeConfig) -> None:
    """Serve until the process is told to end.

    Raises:
        UserError: A value, a model or the file of keys is wrong, the port is taken, or the folder
            cannot be worked in.
    """
    config.check()
    keys = Keys() if config.keys is None else read_keys(config.keys)
    listener = listen(config)
    with closing(Room(config.folder)) as room:
        server = Server(config, load_models(config), keys, listener, room)
        names = ", ".join(one.name for one in server.service.models)
        print(f"serving {names} on {server.address}", flush=True)
        server.run()


class Server(uvicorn.Server):
    """An HTTP server over a service of its own.

    Attributes:
        address: Where it listens.
        service: What it serves.
    """

    def __init__(
        self,
        config: ServeConfig,
        models: Models,
        keys: Keys,
        listener: socket.socket,
        room: Room,
    ) -> None:
        self.service, self._listener = Service(config, models, room), listener
        self.address = f"http://{config.host}:{listener.getsockname()[1]}"
        app = build_app(self.service, keys)
        if config.page:
            from mcm.serving.page import add_page

            add_page(app, self.service, keys)
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                timeout_graceful_shutdown=_SECONDS_TO_CLOSE,
                server_header=False,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end."""
        super().run(sockets or [self._listener])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams instead of waiting for them, then everything else."""
        self.service.hang_up()
        await super().shutdown(sockets)


def listen(config: ServeConfig) -> socket.socket:
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
