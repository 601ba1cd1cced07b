"""``POST /v1/progress``: who pushes is verified before the body is read, and nothing that a Pod sends is trusted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from pydantic import ValidationError

from scenewright.telemetry.progress.metrics import LOAD_SECONDS, PUSHES
from scenewright.telemetry.progress.pacing import Pacer
from scenewright.telemetry.progress.refusals import RefusedPush
from scenewright.telemetry.progress.store import KnownPod, ProgressStore
from scenewright.telemetry.progress.tokens import PodIdentity, TokenVerifier
from scenewright_stages.contract.reports import MAXIMUM_PUSH_BYTES, PROGRESS_PATH, Push
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP

BODY_SECONDS = 5.0
CONNECTION_SECONDS = 15.0

FindPod = Callable[[str, str], KnownPod | None]
"""The Pod of a namespace with a uid, as the operator knows it."""
OnPush = Callable[[KnownPod], None]


def _ignore(pod: KnownPod) -> None:
    """Where nobody wants to know."""


class ProgressEndpoint:
    """The HTTP server to which stage Pods push.

    Args:
        verifier: of the Pods' tokens.
        find_pod: looks a Pod up in memory.
        store: takes the counters.
        on_push: called for every push that is taken: it wakes up whoever writes status.
    """

    def __init__(
        self, verifier: TokenVerifier, find_pod: FindPod, store: ProgressStore, on_push: OnPush = _ignore
    ) -> None:
        self._verifier, self._find_pod, self._store, self._on_push = verifier, find_pod, store, on_push
        self._pacer = Pacer()
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        """The application with its one route."""
        application = web.Application(client_max_size=MAXIMUM_PUSH_BYTES)
        application.router.add_post(PROGRESS_PATH, self._handle)
        return application

    async def start(self, port: int, host: str | None = None) -> int:
        """Listens; returns the port, which the system chooses for 0."""
        self._runner = web.AppRunner(
            self.application(), access_log=None, keepalive_timeout=CONNECTION_SECONDS, handle_signals=False
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            pod = self._known(await self._verifier.verify(_bearer(request)))
            self._take(pod, _checked(pod, await _body(request)))
            pause = self._pacer.pause(pod.uid, time.monotonic())
        except RefusedPush as refused:
            PUSHES.labels(refused.reason).inc()
            # The body of a refused push is left unread, and so the connection cannot be used again.
            return web.Response(status=refused.status, text=str(refused), headers={"Connection": "close"})
        PUSHES.labels("accepted").inc()
        return web.Response(status=204, headers={"Retry-After": str(pause)})

    def _known(self, identity: PodIdentity) -> KnownPod:
        pod = self._find_pod(identity.namespace, identity.uid)
        if pod is None or pod.name != identity.name:
            raise RefusedPush("unknown-pod", 404, "no Pod of this operator, or not known to it yet")
        return pod

    def _take(self, pod: KnownPod, push: Push) -> None:
        load_seconds = self._store.take(pod, push, time.monotonic())
        if load_seconds:
            LOAD_SECONDS.labels(pod.step).observe(load_seconds)
        self._on_push(pod)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


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


def _checked(pod: KnownPod, push: Push) -> Push:
    """The push, once it is about the Pod's own part of the work.

    A folded process also goes through index and publish.
    """
    if push.shard != pod.index or push.step not in (pod.step, INDEX_STEP, PUBLISH_STEP):
        raise RefusedPush("wrong-pod", 403, "a Pod pushes the progress of its own step and shard only")
    return push
