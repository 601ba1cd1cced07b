"""Why Jobs have no Pods: the Events of the very Job are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import api_objects as raw
import pytest
from test_io_acting import Bench

from scenewright.kube.client import ApiError, Client
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.cache.observation import Inspection, Observed
from scenewright.reconcile.cache.projection import observed_job
from scenewright.reconcile.cache.store import Store

JOB = observed_job(raw.job())
assert JOB is not None
QUESTION = Inspection("failed-creates", JOB.name)


def event(message: str, second: int) -> dict[str, Any]:
    return {"message": message, "lastTimestamp": f"2026-11-22T10:00:{second:02}Z"}


class EventServer:
    """Lists Events in pages of one."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = events
        self.error: ApiError | None = None
        self.lists: list[str] = []

    async def pages(self, _resource: Any, namespace: str, fieldSelector: str) -> AsyncIterator[dict[str, Any]]:
        self.lists.append(f"{namespace} {fieldSelector}")
        if self.error:
            raise self.error
        for each in self.events or ({},):
            yield {"items": [each] if each else None}


def observed() -> Observed:
    return replace(Bench().observed, jobs=(JOB,))


@pytest.mark.parametrize(
    ("events", "expected"),
    [((event("newer", 3), event("older", 1)), (True, "newer")), ((), (False, ""))],
)
def test_the_newest_event_of_the_very_job_is_the_answer(events: Any, expected: tuple[bool, str]) -> None:
    server = EventServer(*events)
    inspector = Inspector(cast(Client, server), Store())
    assert asyncio.run(inspector.ask(observed(), QUESTION))
    answer = inspector.answers(observed().object.uid)[QUESTION]
    assert (answer.holds, answer.message) == expected
    assert server.lists == [f"lab involvedObject.uid={JOB.uid},reason=FailedCreate"]


def test_after_a_list_that_failed_the_next_question_lists_again() -> None:
    server = EventServer(event("exceeded quota", 1))
    inspector = Inspector(cast(Client, server), Store())
    server.error = ApiError(500, "Injected", "not now")
    with pytest.raises(ApiError):
        asyncio.run(inspector.ask(observed(), QUESTION))
    server.error = None
    assert asyncio.run(inspector.ask(observed(), QUESTION))
    assert not asyncio.run(inspector.ask(observed(), QUESTION)), "a young answer is not asked for again"
