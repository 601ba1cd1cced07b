"""Starts the web server of `scenewright serve`."""

from __future__ import annotations

import uvicorn

from scenewright_lab.app import create
from scenewright_lab.settings import Settings

_GRACE_SECONDS = 3


def serve(settings: Settings) -> None:
    """Serves the page until a signal ends it."""
    uvicorn.run(
        create(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
