"""Runs the operator inside kopf, which handles signals, starts and stops the work, and watches our three kinds.

kopf only passes events on; there are no finalizers, annotations or handler state. When kopf fails, for example because
a CRD was deleted, it ends the work that it hosts, and the caller starts both again: they resume from the cluster.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import kopf

from scenewright.api.names import GROUP, PLURALS, VERSION
from scenewright.api.raw import Json
from scenewright.kube.client import PAGE
from scenewright.kube.connection import Connection

logger = logging.getLogger(__name__)

Take = Callable[[str, str | None, Json], None]
Work = Callable[[], Coroutine[Any, Any, None]]

HOST_FAILED = -1
"""Result of :func:`host` when kopf itself failed, not the work: both may be started again."""
_END_SECONDS = 25.0
"""Time for a clean shutdown, within a Pod's grace period; after it kopf kills the process."""


async def host(connection: Connection, namespaces: tuple[str, ...], take: Take, work: Work) -> int:
    """Runs until a signal, or until kopf or the work fails; returns the process's exit code, or `HOST_FAILED`.

    Calls `take` with kind, type and object of each event. `work` starts with kopf and is cancelled at its end.
    Without namespaces, all are watched.
    """
    # kopf logs every event of every object.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    working = _Working(work)
    try:
        await kopf.operator(
            registry=_registry(connection, take, working),
            settings=configured(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
    except Exception:
        logger.exception("kopf has failed")
        return 1 if working.failed else HOST_FAILED
    finally:
        await working.end()
    return 1 if working.failed else 0


@dataclass
class _Working:
    """The operator's work as a task in kopf's event loop."""

    work: Work
    failed: bool = False
    _task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts the task without waiting: a signal during kopf's startup would skip the cleanup."""
        self._task = asyncio.create_task(self.work(), name="work")
        self._task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Cancels the task and waits for it to end."""
        if self._task is not None:
            self._task.remove_done_callback(self._ended)
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Stops kopf, which would not notice that the work has failed."""
        self.failed = True
        if not task.cancelled():
            logger.error("the operator's work has ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)


def _registry(connection: Connection, take: Take, working: _Working) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    # A retry would start the work twice.
    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def begin(**_: object) -> None:
        working.begin()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: object) -> None:
        await working.end()

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        await connection.renew()
        return await credentials(connection)

    async def on_event(event: Any, param: Any = None, **_: Any) -> None:
        take(param, event["type"], dict(event["object"]))

    for kind, plural in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural, param=kind)(on_event)
    return registry


async def credentials(connection: Connection) -> kopf.ConnectionInfo:
    """The official client's credentials in kopf's format."""
    found = connection.configuration
    scheme, _, token = (await found.get_api_key_with_prefix("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert or None,
        insecure=not found.verify_ssl,
        scheme=scheme or None,
        token=token.strip() or None,
        certificate_path=found.cert_file or None,
        private_key_path=found.key_file or None,
        proxy_url=found.proxy,
        default_namespace=connection.namespace,
    )


class _Backoffs:
    """Endless retries: the operator waits for an API server that is down."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 2, 3, 5, 8, 13, 21), itertools.repeat(30))


def configured() -> kopf.OperatorSettings:
    """kopf's settings where they differ from its defaults."""
    settings = kopf.OperatorSettings()
    # Bookmarks arrive about once a minute; a timeout below 62 s would reconnect for nothing.
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    # The default lists all objects in one document, which takes 12 MB more memory for 2,000 new objects.
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = _END_SECONDS
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    return settings
