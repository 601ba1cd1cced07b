"""The main loop: takes a key from the queue, observes the object, decides, acts, writes the status.

It works on several keys at once; the queue never gives out the same key twice at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from scenewright.api.status import ENDS, Status
from scenewright.execution.jobs import CreateJob
from scenewright.kube.client import ApiError
from scenewright.reconcile.act.acting import Actor, NameTakenError, RefusedError
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.act.observing import Observer
from scenewright.reconcile.cache.observation import RESTS, ObjectKey, Observed, ObservedObject
from scenewright.reconcile.decide import stalled
from scenewright.reconcile.decide.actions import Decision, EmitEvent
from scenewright.reconcile.decide.context import earliest
from scenewright.reconcile.lease import NotLeading
from scenewright.reconcile.queue import Priority, WorkQueue
from scenewright.reconcile.status.accounting import account
from scenewright.reconcile.status.writing import StatusWriter
from scenewright.reconcile.watch.routing import Router
from scenewright.telemetry.metrics import RECONCILE_SECONDS, RECONCILES
from scenewright.telemetry.notifications import Notifier, cloud_event

logger = logging.getLogger(__name__)

Decide = Callable[[Observed, datetime], Decision]
_NOT_LEADING_SECONDS = 1.0
_NOT_SERVED_SECONDS = 30.0
_MOVED_ON = (401, 404, 409, 410)
"""Responses after which the next observation decides otherwise, or that renewed credentials mend."""


_LASTS = 8
"""Failures in a row, about half a minute, after which the status says what the API server or a webhook answers."""


def reported_reason(error: ApiError | NameTakenError | RefusedError, failures: int) -> str:
    """Reason that the status must give, since trying again does not help or has not helped; empty if there is none.

    Refusals are in the status already. Without any answer, no status can be written.
    """
    if isinstance(error, NameTakenError):
        return "JobNameTaken"
    if not isinstance(error, ApiError):
        return ""
    if not error.passing and error.status not in _MOVED_ON:
        return "NotPermitted"
    return "ApiServerFails" if error.status and failures >= _LASTS else ""


@dataclass(frozen=True)
class Reconciler:
    """Takes keys from the queue and reconciles their objects, where all Jobs and Pods of the namespace are known."""

    queue: WorkQueue[ObjectKey]
    serves: Callable[[str], bool]
    known: Router
    observer: Observer
    decide: Decide
    actor: Actor
    writer: StatusWriter
    events: Events
    notifier: Notifier = field(default_factory=Notifier)

    async def work(self, workers: int, beat: Callable[[], None]) -> None:
        """Reconciles queued keys, up to `workers` at once; never returns."""
        free = asyncio.Semaphore(workers)
        tasks: set[asyncio.Task[None]] = set()
        while True:
            beat()
            await free.acquire()
            key = await self.queue.get()
            if key is None:
                free.release()
                continue
            task = asyncio.create_task(self._handle(key))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _task: free.release())

    async def _handle(self, key: ObjectKey) -> None:
        """Reconciles one key. Never raises: failures are logged and retried with backoff."""
        began = time.perf_counter()
        try:
            again_after = await self.reconcile(key)
        except NotLeading:
            self.queue.done(key)
            self.queue.add(key, Priority.RUNNING, _NOT_LEADING_SECONDS)
            return
        except (ApiError, NameTakenError, RefusedError) as error:
            if reason := reported_reason(error, self.queue.failures(key)):
                await self._report(key, reason, str(error))
            delay = self.queue.failed(key, getattr(error, "retry_after", None))
            logger.info("%s: %s; again in %.1f s", key, error, delay)
            RECONCILES.labels(key.kind, "retry").inc()
        except Exception as error:
            logger.exception("%s: deciding or acting failed", key)
            await self._report(key, "OperatorError", f"{type(error).__name__}: {error}")
            self.queue.failed(key)
            RECONCILES.labels(key.kind, "error").inc()
        else:
            self.queue.done(key)
            if again_after is not None:
                self.queue.add(key, Priority.RUNNING, again_after)
            RECONCILES.labels(key.kind, "ok").inc()
        RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - began)

    async def reconcile(self, key: ObjectKey) -> float | None:
        """Reconciles one object; returns seconds until the next look, None to wait for events only."""
        value = self.known.objects.get(key)
        if value is None:
            # Owner references delete the children; nothing outside the cluster is cleaned up.
            self.queue.forget(key)
            return None
        if not self.serves(key.namespace):
            return _NOT_SERVED_SECONDS
        observed = self.observer.observe(value)
        decision = self.decide(observed, datetime.now(UTC))
        # No await since `observe` found the output free, so no other object can have claimed it.
        if any(isinstance(action, CreateJob) for action in decision.actions):
            self.known.outputs.claim(key)
            self.known.line.claim(key)
        elif decision.status is not None and not decision.status.run:
            self.known.outputs.release(key)
            self.known.line.release(key)
        answered = await self._act(observed, decision)
        if answered:
            return 0.0
        return earliest(decision.again_after, await self._write(observed, decision))

    async def _act(self, observed: Observed, decision: Decision) -> bool:
        try:
            return await self.actor.act(observed, decision.actions)
        except NameTakenError as error:
            self.events.post(observed.object, EmitEvent("Warning", "JobNameTaken", str(error)))
            raise
        except RefusedError as error:
            # The inspector has noted the refusal: post the Event, then decide again to write the status.
            self.events.post(observed.object, EmitEvent("Warning", "JobRefused", str(error)))
            value = self.known.objects.get(observed.object.key)
            if value is not None:
                again = self.observer.observe(value)
                await self._write(again, self.decide(again, datetime.now(UTC)))
            raise

    async def _report(self, key: ObjectKey, reason: str, message: str) -> None:
        """Says in the object's status why it does not go on. Only logs if that fails too."""
        value = self.known.objects.get(key)
        if value is None:
            return
        try:
            decision = stalled(value, reason, message, datetime.now(UTC))
            for event in decision.actions:
                if isinstance(event, EmitEvent):
                    self.events.post(value, event)
            if decision.status is not None:
                await self.writer.write(value, decision.status, decision.urgent)
        except (ApiError, NotLeading) as problem:
            logger.info("%s: its status could not be written: %s", key, problem)
        except Exception:
            logger.exception("%s: its status could not be written", key)

    async def _write(self, observed: Observed, decision: Decision) -> float | None:
        value, status = observed.object, decision.status
        if status is None or value.deleting:
            return None
        if (held := await self.writer.write(value, status, decision.urgent)) is not None:
            return held
        account(value.key, value.status, status)
        self._notify(value, status)
        return None

    def _notify(self, value: ObservedObject, status: Status) -> None:
        """Tells the lab's webhook of an end, or of a rest that only a person ends."""
        ends = status.phase in ENDS or (status.phase == "Waiting" and status.reason in RESTS)
        if ends and (value.status.phase, value.status.reason) != (status.phase, status.reason):
            self.notifier.post(cloud_event(value.kind, value.namespace, value.name, value.uid, status))
