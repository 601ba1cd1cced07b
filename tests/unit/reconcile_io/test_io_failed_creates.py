"""Why Jobs have no Pods: one list of Events for all who ask, never two at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from test_io_acting import Bench

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.failed_creates import FailedCreates
from scenewright.reconcile.inspecting import Inspector
from scenewright.reconcile.observation import Answer, Inspection

AT = datetime(2026, 11, 22, tzinfo=UTC)


def event(job_uid: str, message: str, second: int) -> dict[str, Any]:
    seen = f"2026-11-22T10:00:{second:02}Z"
    return {"involvedObject": {"kind": "Job", "uid": job_uid}, "message": message, "lastTimestamp": seen}


class EventServer:
    """Lists Events in pages of one, when it is let."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = events
        self.error: ApiError | None = None
        self.may_answer = asyncio.Event()
        self.lists: list[str] = []
        self.under_way = self.most_under_way = 0

    async def pages(self, _resource: Any, namespace: str, fieldSelector: str) -> AsyncIterator[dict[str, Any]]:
        self.lists.append(f"{namespace} {fieldSelector}")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_answer.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        for each in self.events:
            yield {"items": [each]}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def asking(server: EventServer, clock: Callable[[], float] = lambda: 0.0) -> FailedCreates:
    return FailedCreates(cast(Client, server), lambda: AT, clock)


def test_the_newest_event_of_the_very_job_is_the_answer() -> None:
    async def run() -> list[Answer | None]:
        server = EventServer(event("a", "older", 1), event("a", "newer", 3), event("other", "newest", 5))
        server.may_answer.set()
        questions = asking(server)
        found = [await questions.of("lab", "a"), await questions.of("lab", "b")]
        assert server.lists == ["lab involvedObject.kind=Job,reason=FailedCreate"] * 2
        return found

    assert asyncio.run(run()) == [Answer(True, "newer", AT), Answer(False, "", AT)]


def test_a_crowd_that_asks_during_a_list_is_answered_by_the_next_one_together() -> None:
    """Else each had a list of its own: twenty here, and every worker waited for one."""

    async def run() -> None:
        server = EventServer(event("job-7", "exceeded quota", 1))
        questions = asking(server)
        first = asyncio.create_task(questions.of("lab", "job-0"))
        await asyncio.sleep(0)
        crowd = [f"job-{number}" for number in range(1, 20)]
        assert [await questions.of("lab", job) for job in crowd] == [None] * 19, "nobody waits"
        server.may_answer.set()
        assert await first == Answer(False, "", AT)
        again = [await questions.of("lab", job) for job in crowd]
        assert again == [Answer(job == "job-7", "exceeded quota" * (job == "job-7"), AT) for job in crowd]
        assert (len(server.lists), server.most_under_way) == (2, 1)

    asyncio.run(run())


@pytest.mark.parametrize(("took", "pause"), [(1.5, 13.5), (40.0, 60.0)])
def test_the_api_server_has_nine_tenths_of_its_time_for_others(took: float, pause: float) -> None:
    """Else a list that takes a second is followed by the next one, as long as Jobs without Pods are many."""

    async def run() -> None:
        server, clock = EventServer(event("b", "exceeded quota", 1)), Clock()
        questions = asking(server, clock)
        first = asyncio.create_task(questions.of("lab", "a"))
        await asyncio.sleep(0)
        clock.seconds += took
        server.may_answer.set()
        assert await first == Answer(False, "", AT)
        clock.seconds += pause - 0.1
        assert await questions.of("lab", "b") is None
        assert len(server.lists) == 1
        clock.seconds += 0.1
        assert await questions.of("lab", "b") == Answer(True, "exceeded quota", AT)
        assert len(server.lists) == 2

    asyncio.run(run())


def test_another_namespace_has_a_list_of_its_own() -> None:
    async def run() -> None:
        server = EventServer()
        questions = asking(server)
        both = [asyncio.create_task(questions.of(namespace, "job")) for namespace in ("lab", "studio")]
        await asyncio.sleep(0)
        server.may_answer.set()
        assert await asyncio.gather(*both) == [Answer(False, "", AT)] * 2

    asyncio.run(run())


def test_after_a_list_that_failed_the_next_question_lists_again() -> None:
    async def run() -> None:
        server = EventServer(event("b", "exceeded quota", 1))
        server.error = ApiError(500, "Injected", "not now")
        questions = asking(server)
        first = asyncio.create_task(questions.of("lab", "a"))
        await asyncio.sleep(0)
        assert await questions.of("lab", "b") is None
        server.may_answer.set()
        with pytest.raises(ApiError):
            await first
        server.error = None
        assert await questions.of("lab", "b") == Answer(True, "exceeded quota", AT)

    asyncio.run(run())


def test_a_planner_that_asks_during_a_list_gets_no_answer_yet() -> None:
    async def run() -> None:
        server = EventServer()
        inspector = Inspector(cast(Client, server), Store())
        observed = Bench().observed
        one, other = Inspection("failed-creates", "one"), Inspection("failed-creates", "other")
        first = asyncio.create_task(inspector.ask(observed, one))
        await asyncio.sleep(0)
        assert not await inspector.ask(observed, other)
        server.may_answer.set()
        assert await first
        assert list(inspector.answers("yard-uid")) == [one]
        async with asyncio.timeout(10.0):
            while not await inspector.ask(observed, other):
                await asyncio.sleep(0.001)
        assert not inspector.answers("yard-uid")[other].holds

    asyncio.run(run())
