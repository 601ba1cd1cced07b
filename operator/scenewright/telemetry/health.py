"""Serves metrics and probes. Liveness means that the operator's loops are running, however much work waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scenewright.telemetry.metrics import REGISTRY


class Heartbeats:
    """The time of each loop's last heartbeat.

    Attributes:
        began: the caches are filled and work has begun.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = False
        self._beats: dict[str, tuple[float, float]] = {}

    def register(self, loop: str, limit: float) -> Callable[[], None]:
        """A function that the loop must call at each turn; the loop counts as dead after `limit` seconds without."""

        def beat() -> None:
            self._beats[loop] = (self._clock(), limit)

        beat()
        return beat

    def dead(self) -> dict[str, float]:
        """Seconds since the last heartbeat of each loop that exceeds its limit."""
        now = self._clock()
        return {loop: now - at for loop, (at, limit) in self._beats.items() if now - at > limit}


class HttpServer:
    """Serves an application on a port from start to stop."""

    def __init__(self, application: web.Application, keepalive_seconds: float = 75.0) -> None:
        # kopf handles the signals.
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=keepalive_seconds, handle_signals=False
        )

    async def start(self, port: int, host: str | None = None) -> int:
        """Listens on one or all addresses; returns the port, which the system picks for 0."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()


class HealthServer(HttpServer):
    """``/metrics``, ``/healthz`` (loops are running) and ``/readyz`` (leading, with filled caches).

    Attributes:
        heartbeats: of the operator; None while none runs, because the kinds are not there yet. Such a process is alive.
    """

    def __init__(self, heartbeats: Heartbeats | None = None) -> None:
        self.heartbeats = heartbeats
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        super().__init__(application)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        dead = self.heartbeats.dead() if self.heartbeats is not None else {}
        text = "".join(f"{loop}: no sign of life for {seconds:.0f} s\n" for loop, seconds in dead.items())
        return web.Response(text=text or "ok\n", status=503 if dead else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self.heartbeats is not None and self.heartbeats.began
        return web.Response(text="ok\n" if ready else "starting\n", status=200 if ready else 503)
