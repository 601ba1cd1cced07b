"""kopf: watches our three kinds and hands every event on. No finalizers, no annotations, no state in it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import kopf

from scenewright.api.kinds import GROUP, PLURALS, VERSION
from scenewright.reconcile.cluster.client import PAGE
from scenewright.reconcile.cluster.connection import login_as_kopf_does
from scenewright.reconcile.routing import Router

logger = logging.getLogger(__name__)

_Take = Callable[[str, str | None, dict[str, Any]], None]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_END_SECONDS = 5.0
"""Given to kopf to end in; its workers need one."""
_GATHER_SECONDS = 0.05


async def watch_objects(router: Router, namespaces: tuple[str, ...], missed: Callable[[], None]) -> None:
    """Runs kopf for ever, in a thread with a loop of its own: when it ends it cancels all tasks of its loop.

    Args:
        missed: called when kopf had to be started again: deletions of the meantime are in no list.
    """
    # kopf logs every event of every object.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    stop = threading.Event()
    take = _Letters(asyncio.get_running_loop(), router.take_watched)
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


class _Letters:
    """Events on their way from kopf's thread to ours, which is woken for all of a few hundredths of a second at once.

    Args:
        loop: of our thread.
        take: called there with kind, type and object of each event, in their order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take: _Take) -> None:
        self._loop = loop
        self._take = take
        self._waiting: deque[tuple[str, Any]] = deque()
        self._lock = threading.Lock()
        self._is_called = False

    def __call__(self, kind: str, event: Any) -> None:
        """Called by kopf's thread."""
        with self._lock:
            self._waiting.append((kind, event))
            is_first, self._is_called = not self._is_called, True
        if is_first:
            self._loop.call_soon_threadsafe(self._loop.call_later, _GATHER_SECONDS, self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            events, self._waiting, self._is_called = self._waiting, deque(), False
        for kind, event in events:
            try:
                self._take(kind, event["type"], dict(event["object"]))
            except Exception:
                # What is wrong with one must not cost the others; the sweep looks at it once more.
                logger.exception("an event of a %s was not understood", kind)


def _run_kopf(take: Callable[[str, Any], None], namespaces: tuple[str, ...], stop: threading.Event) -> None:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for kind, plural in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)(_handler(take, kind))
    loop = KopfLoop()
    try:
        kopf.run(
            loop=loop,
            registry=registry,
            settings=configured(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
    finally:
        loop.close()


class KopfLoop(asyncio.SelectorEventLoop):
    """Ends kopf where kopf would kill the process.

    After a failure it waits for all of its tasks, and one that asks for new credentials at that moment never ends; its
    last resort is a timer that sends SIGKILL to its thread, and thereby to the whole process.
    """

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, **options: Any
    ) -> asyncio.TimerHandle:
        """As it is, but for the timer of the last resort."""
        if callback is signal.pthread_kill:
            callback, args = self.stop, ()
        return super().call_later(delay, callback, *args, **options)


def configured() -> kopf.OperatorSettings:
    """What differs from kopf's defaults, and why."""
    settings = kopf.OperatorSettings()
    # Bookmarks keep a watch alive; below 62 s of patience it reconnects for nothing.
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    # All objects at once, which is the default, are read as one document: of 2,000 fresh ones that takes 12 MB more.
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # About 11 minutes; the default of 54 s would end the operator during a restart of the API server.
    settings.networking.error_backoffs = [1, 2, 3, 5, 8, 13, 21] + [30] * 20
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = _END_SECONDS
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
