"""Serves ``POST /v1/progress``. Verifies the Pod's token before it reads the body, and validates all input."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import ceil

from aiohttp import web
from pydantic import ValidationError

from scenewright.telemetry.health import HttpServer
from scenewright.telemetry.metrics import counter, histogram
from scenewright.telemetry.progress.store import KnownPod, ProgressStore
from scenewright.telemetry.progress.tokens import RefusedPush, TokenVerifier
from scenewright_stages.contract.reports import MAXIMUM_PUSH_BYTES, PROGRESS_PATH, Push
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP

BODY_SECONDS = 5.0
CONNECTION_SECONDS = 15.0

FindPod = Callable[[str, str], KnownPod | None]
"""Finds a known Pod by namespace and name."""
OnPush = Callable[[KnownPod], None]


class ProgressEndpoint(HttpServer):
    """The HTTP server to which stage Pods push. Calls `on_push` after each accepted push."""

    def __init__(
        self, verifier: TokenVerifier, find_pod: FindPod, store: ProgressStore, on_push: OnPush = lambda _pod: None
    ) -> None:
        self._verifier, self._find_pod, self._store, self._on_push = verifier, find_pod, store, on_push
        self._pacer = Pacer()
        application = web.Application(client_max_size=MAXIMUM_PUSH_BYTES)
        application.router.add_post(PROGRESS_PATH, self._handle)
        super().__init__(application, CONNECTION_SECONDS)

    async def run(self, port: int) -> None:
        """Listens until cancelled."""
        await self.start(port)
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            identity = await self._verifier.verify(token.strip() if scheme.lower() == "bearer" else "")
            pod = self._find_pod(identity.namespace, identity.name)
            if pod is None or pod.uid != identity.uid:
                raise RefusedPush("unknown-pod", 404, "no Pod of this operator, or not known to it yet")
            self._take(pod, await _body(request))
        except RefusedPush as refused:
            PUSHES.labels(refused.reason).inc()
            # The body of a refused push stays unread, so the connection cannot be reused.
            return web.Response(status=refused.status, text=str(refused), headers={"Connection": "close"})
        PUSHES.labels("accepted").inc()
        pause = self._pacer.pause(pod.uid, time.monotonic())
        return web.Response(status=204, headers={"Retry-After": str(pause)})

    def _take(self, pod: KnownPod, push: Push) -> None:
        """Accepts a push for the Pod's own shard and step; with folding, also for index and publish."""
        if push.shard != pod.index or push.step not in (pod.step, INDEX_STEP, PUBLISH_STEP):
            raise RefusedPush("wrong-pod", 403, "a Pod pushes the progress of its own step and shard only")
        load_seconds = self._store.take(pod, push, time.monotonic())
        if load_seconds:
            LOAD_SECONDS.labels(pod.step).observe(load_seconds)
        self._on_push(pod)


async def _body(request: web.Request) -> Push:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return Push.model_validate_json(await request.read())
    except TimeoutError:
        raise RefusedPush("slow", 408, "the body took too long") from None
    except web.HTTPRequestEntityTooLarge:
        raise RefusedPush("too-large", 413, f"more than {MAXIMUM_PUSH_BYTES} bytes") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedPush("malformed-body", 422, f"{where}: {first['msg']}") from None


PUSHES_PER_SECOND = 100
SHORTEST_SECONDS = 2
REMEMBERED_SECONDS = 90.0
"""Longer than the longest pause between a Pod's pushes."""
LONGEST_SECONDS = 60


class Pacer:
    """Limits the rate of pushes by the number of Pods that push."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._swept_at = 0.0

    def pause(self, uid: str, now: float) -> int:
        """Seconds until the Pod should push again."""
        self._seen[uid] = now
        if now - self._swept_at >= REMEMBERED_SECONDS / 3:
            self._seen = {uid: at for uid, at in self._seen.items() if now - at < REMEMBERED_SECONDS}
            self._swept_at = now
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, ceil(len(self._seen) / PUSHES_PER_SECOND)))


PUSHES = counter(
    "progress_pushes_total", "Pushes of progress by result: accepted, or why they were refused.", ["result"]
)
LOAD_SECONDS = histogram(
    "model_load_seconds",
    "Time from a stage process's start of loading until it is ready for its first sample.",
    ["stage"],
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
