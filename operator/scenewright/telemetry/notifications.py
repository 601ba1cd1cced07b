"""Posts a CloudEvent to the lab's webhook when an object ends, or rests until a person acts.

Delivery is best effort: a few attempts, then the loss is logged and counted. The status itself is never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime

import aiohttp

from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json
from scenewright.api.status import Status
from scenewright.telemetry.metrics import NOTIFICATIONS

logger = logging.getLogger(__name__)
TYPE = "io.scenewright.object"
_MOST_WAITING = 10_000
_PAUSES = (1.0, 5.0, 30.0, 0.0)
"""After each attempt."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)


def cloud_event(kind: str, namespace: str, name: str, uid: str, status: Status) -> Json:
    """A CloudEvent 1.0 in structured mode; repeats of the same end have the same id."""
    what = {"Complete": "complete", "Failed": "failed"}.get(status.phase, "waiting")
    explained = next((each for each in status.conditions if each.type == status.phase and each.status == "True"), None)
    return {
        "specversion": "1.0",
        "id": f"{uid}-{status.starts}-{status.effective.work_hash}-{what}-{explained.reason if explained else ''}",
        "source": f"/apis/{API_VERSION}/namespaces/{namespace}",
        "type": f"{TYPE}.{what}",
        "subject": f"{kind}/{name}",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datacontenttype": "application/json",
        "data": {
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "phase": status.phase,
            "reason": explained.reason if explained else "",
            "message": explained.message if explained else "",
            "samples": status.samples.model_dump(by_alias=True),
            "outputs": status.outputs.model_dump(by_alias=True),
        },
    }


class Notifier:
    """Posts events one by one in the background; does nothing without a URL."""

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._waiting: asyncio.Queue[Json] = asyncio.Queue(_MOST_WAITING)

    def post(self, event: Json) -> None:
        """Queues an event; drops it if thousands wait already."""
        if not self._url:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(event)
            return
        NOTIFICATIONS.labels("lost").inc()

    async def run(self) -> None:
        """Posts waiting events; never returns."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session:
            while True:
                event = await self._waiting.get()
                sent = await self._send(session, event)
                NOTIFICATIONS.labels("sent" if sent else "lost").inc()

    async def _send(self, session: aiohttp.ClientSession, event: Json) -> bool:
        headers, problem = {"Content-Type": "application/cloudevents+json"}, ""
        for pause in _PAUSES:
            try:
                async with session.post(self._url, data=json.dumps(event), headers=headers) as response:
                    if response.status < 400:
                        return True
                    problem = f"HTTP {response.status}"
                    if response.status < 500 and response.status not in (408, 429):
                        break
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
            await asyncio.sleep(pause)
        logger.warning("the webhook did not take the end of %s: %s", event["subject"], problem)
        return False
