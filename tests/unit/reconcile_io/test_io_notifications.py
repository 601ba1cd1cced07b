"""CloudEvents of ends, to a webhook that may be slow, wrong or away."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import api_objects as raw
import pytest
from aiohttp import web

from scenewright.api.status import Condition, Status
from scenewright.reconcile.act.reconciler import Reconciler
from scenewright.reconcile.cache.projection import observed_object
from scenewright.telemetry import notifications
from scenewright.telemetry.notifications import Notifier, cloud_event


def ended(phase: str = "Complete", reason: str = "Succeeded") -> Status:
    condition = Condition(type=phase, status="True", reason=reason, message="all 4 samples are done")  # type: ignore[arg-type]
    return Status(phase=phase, starts=1, conditions=[condition])  # type: ignore[arg-type]


def event(status: Status) -> dict[str, Any]:
    return cloud_event("SceneJob", "lab", "yard", "uid-1", status)


@pytest.mark.parametrize(("phase", "what"), [("Complete", "complete"), ("Failed", "failed"), ("Waiting", "waiting")])
def test_an_event_says_what_has_ended_and_how(phase: str, what: str) -> None:
    found = event(ended(phase))
    assert (found["specversion"], found["type"]) == ("1.0", f"io.scenewright.object.{what}")
    assert found["subject"] == "SceneJob/yard" and found["source"].endswith("/namespaces/lab")
    assert found["data"]["message"] == "all 4 samples are done"
    assert event(ended(phase))["id"] == found["id"], "a repeat can be recognised"
    assert event(ended(phase, "Other"))["id"] != found["id"]


def sent_to(answers: list[int], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a webhook that answers so receives for one event."""
    monkeypatch.setattr(notifications, "_PAUSES", (0.0, 0.0, 0.0, 0.0))
    received: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/cloudevents+json"
        received.append(json.loads(await request.text()))
        return web.Response(status=answers.pop(0))

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        notifier = Notifier(f"http://127.0.0.1:{port}/")
        notifier.post(event(ended()))
        task = asyncio.create_task(notifier.run())
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not answers:
                break
        task.cancel()
        await runner.cleanup()

    asyncio.run(run())
    return received


@pytest.mark.parametrize(("answers", "attempts"), [([202], 1), ([503, 429, 200], 3), ([500] * 4, 4), ([404], 1)])
def test_a_webhook_that_is_away_is_tried_again_and_one_that_refuses_is_not(
    answers: list[int], attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = sent_to(list(answers), monkeypatch)
    assert len(received) == attempts and len({each["id"] for each in received}) == 1


class Kept(Notifier):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("http://somewhere")
        self.events: list[dict[str, Any]] = []

    def post(self, event: dict[str, Any]) -> None:
        self.events.append(event)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Status(phase="Publishing"), ended(), 1),
        (Status(phase="Running"), ended("Failed", "StageFailed"), 1),
        (ended(), ended(), 0),
        (Status(phase="Running"), Status(phase="Waiting", reason="QueuePending"), 0),
        (Status(phase="Running"), Status(phase="Waiting", reason="BudgetReached"), 1),
        (Status(phase="Waiting", reason="BudgetReached"), Status(phase="Waiting", reason="BudgetReached"), 0),
    ],
)
def test_the_lab_is_told_once_of_ends_and_of_rests_that_only_a_person_ends(
    before: Status, after: Status, told: int
) -> None:
    nothing: Any = None
    notifier = Kept()
    parts = (nothing,) * 8
    reconciler = Reconciler(*parts, notifier=notifier)
    value = replace(observed_object(raw.scene(), "SceneJob"), status=before)
    reconciler._notify(value, after)
    assert len(notifier.events) == told


def test_without_a_url_nothing_is_kept() -> None:
    notifier = Notifier()
    notifier.post(event(ended()))
    assert notifier._waiting.empty()
