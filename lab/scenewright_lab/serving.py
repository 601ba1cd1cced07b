"""Starts the web server of `scenewright serve`."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from scenewright_lab.app import create
from scenewright_lab.settings import Settings

_GRACE_SECONDS = 3


class Server(uvicorn.Server):
    """Ends the streams of events first: they would never end by themselves."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._app = app
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams, then everything else."""
        self._app.state.lab.closing.set()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serves the page until a signal ends it."""
    Server(create(settings), settings.host, settings.port).run()
