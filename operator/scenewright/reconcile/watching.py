"""kopf: watches our three kinds and hands every event on. No finalizers, no annotations, no state in it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import kopf

from scenewright.api.kinds import GROUP, PLURALS, VERSION
from scenewright.reconcile.cluster.connection import login_as_kopf_does
from scenewright.reconcile.routing import Router

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


async def watch_objects(router: Router, namespaces: tuple[str, ...], missed: Callable[[], None]) -> None:
    """Runs kopf for ever, in a thread with a loop of its own: when it ends it cancels all tasks of its loop.

    Args:
        missed: called when kopf had to be started again: deletions of the meantime are in no list.
    """
    # kopf logs every event of every object.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def take(kind: str, event: Any) -> None:
        loop.call_soon_threadsafe(router.take, kind, event["type"], dict(event["object"]))

    pause = _FIRST_PAUSE
    try:
        while True:
            began = time.monotonic()
            try:
                await asyncio.to_thread(_run_kopf, take, namespaces, stop)
            except Exception as error:
                # Its watches end with whatever the API server answered; which of that passes, time will tell.
                logger.warning("kopf has ended and is started again in %.0f s: %r", pause, error)
            await asyncio.sleep(pause)
            healthy = time.monotonic() - began > _LONGEST_PAUSE
            pause = _FIRST_PAUSE if healthy else min(_LONGEST_PAUSE, 2 * pause)
            missed()
    finally:
        stop.set()


def _run_kopf(take: Callable[[str, Any], None], namespaces: tuple[str, ...], stop: threading.Event) -> None:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for kind, plural in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)(_handler(take, kind))
    kopf.run(
        registry=registry,
        settings=configured(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def configured() -> kopf.OperatorSettings:
    """What differs from kopf's defaults, and why."""
    settings = kopf.OperatorSettings()
    # Bookmarks keep a watch alive; below 62 s of patience it reconnects for nothing.
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # About 11 minutes; the default of 54 s would end the operator during a restart of the API server.
    settings.networking.error_backoffs = [1, 2, 3, 5, 8, 13, 21] + [30] * 20
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 20
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDifferences()
    return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """kopf copies every object to find out what has changed in it; nothing here asks for that."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """Always the same."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was stored."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is stored."""


def _handler(take: Callable[[str, Any], None], kind: str) -> Any:
    async def on_event(event: Any, **_: Any) -> None:
        take(kind, event)

    return on_event


async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
    return login_as_kopf_does(settings=settings)
