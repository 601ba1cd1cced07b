"""The HTTP server of metrics and probes."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scenewright.reconcile.heartbeats import Heartbeats
from scenewright.telemetry.metrics import REGISTRY


class HealthServer:
    """``/metrics``, ``/healthz`` (the loops turn) and ``/readyz`` (caches are filled and we lead).

    Args:
        ready: whether the operator has begun its work; one that waits for the lease has not.
    """

    def __init__(self, port: int, heartbeats: Heartbeats, ready: Callable[[], bool]) -> None:
        self._port = port
        self._heartbeats = heartbeats
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens on all addresses."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()

    async def stop(self) -> None:
        """Closes the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        dead = self._heartbeats.dead()
        text = "".join(f"{loop}: no sign of life for {seconds:.0f} s\n" for loop, seconds in dead.items())
        return web.Response(text=text or "ok\n", status=503 if dead else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(text="ok\n" if ready else "starting\n", status=200 if ready else 503)
