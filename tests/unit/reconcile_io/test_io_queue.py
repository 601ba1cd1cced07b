"""The work queue: no key twice, none by two at once, finishing before starting, and nobody starves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from scenewright.reconcile.queue import Priority, WorkQueue


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def on_queue(work: Callable[[WorkQueue[str], Clock], object]) -> None:
    clock = Clock()

    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue(clock)
        result = work(queue, clock)
        if asyncio.iscoroutine(result):
            await result

    asyncio.run(run())


async def taken(queue: WorkQueue[str]) -> str | None:
    return await queue.get(timeout=0.0)


def test_a_key_is_queued_once() -> None:
    async def work(queue: WorkQueue[str], _clock: Clock) -> None:
        queue.add("a")
        queue.add("a")
        assert await taken(queue) == "a"
        queue.done("a")
        assert await taken(queue) is None

    on_queue(work)


def test_a_key_in_work_is_not_given_out_but_comes_again_afterwards() -> None:
    async def work(queue: WorkQueue[str], _clock: Clock) -> None:
        queue.add("a")
        assert await taken(queue) == "a"
        queue.add("a")
        assert await taken(queue) is None
        queue.done("a")
        assert await taken(queue) == "a"

    on_queue(work)


def test_finishing_goes_before_starting() -> None:
    async def work(queue: WorkQueue[str], _clock: Clock) -> None:
        queue.add("new", Priority.STARTING)
        queue.add("running", Priority.RUNNING)
        queue.add("ending", Priority.FINISHING)
        assert [await taken(queue) for _ in range(3)] == ["ending", "running", "new"]

    on_queue(work)


def test_a_flood_of_urgent_work_does_not_starve_the_rest() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("new", Priority.STARTING)
        clock.now += 11.0
        for number in range(1000):
            queue.add(f"urgent-{number}", Priority.FINISHING)
        assert await taken(queue) == "new"

    on_queue(work)


def test_a_delayed_key_waits_and_an_urgent_request_brings_it_forward() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a", delay=60.0)
        assert await taken(queue) is None
        queue.add("a", Priority.FINISHING)
        assert await taken(queue) == "a"
        queue.done("a")
        clock.now += 100.0
        assert await taken(queue) is None

    on_queue(work)


def test_the_earliest_of_several_delays_counts() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a", delay=5.0)
        queue.add("a", delay=60.0)
        clock.now += 5.0
        assert await taken(queue) == "a"

    on_queue(work)


def test_failures_back_off_and_success_forgets_them() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        delays = []
        for _ in range(6):
            queue.add("a", Priority.FINISHING)
            clock.now += 1000.0
            assert await taken(queue) == "a"
            delays.append(queue.failed("a"))
        assert all(later > earlier for earlier, later in zip(delays, delays[2:], strict=False))
        clock.now += 1000.0
        assert await taken(queue) == "a"
        queue.done("a")
        queue.add("a")
        assert await taken(queue) == "a"
        assert queue.failed("a") <= 0.2

    on_queue(work)


def test_the_server_s_wish_for_a_pause_is_obeyed() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a")
        assert await taken(queue) == "a"
        assert queue.failed("a", retry_after=7.0) >= 7.0
        clock.now += 6.9
        assert await taken(queue) is None

    on_queue(work)


def test_requests_during_a_failing_attempt_do_not_defeat_the_backoff() -> None:
    async def work(queue: WorkQueue[str], _clock: Clock) -> None:
        queue.add("a")
        assert await taken(queue) == "a"
        queue.add("a", Priority.FINISHING)
        queue.failed("a", retry_after=5.0)
        assert await taken(queue) is None

    on_queue(work)


def test_waiting_ends_when_a_key_is_added() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        waiting = asyncio.create_task(queue.get(timeout=5.0))
        await asyncio.sleep(0.01)
        queue.add("a")
        assert await asyncio.wait_for(waiting, 1.0) == "a"

    asyncio.run(run())


def test_a_delayed_key_comes_by_itself() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a", delay=0.05)
        assert await asyncio.wait_for(queue.get(timeout=5.0), 1.0) == "a"

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("keys", [200])
def test_every_key_that_is_added_while_others_work_is_worked_on(keys: int) -> None:
    """Workers that add keys to each other lose none."""

    async def run() -> None:
        queue: WorkQueue[int] = WorkQueue()
        seen: set[int] = set()
        working: set[int] = set()

        async def worker() -> None:
            while (key := await queue.get(timeout=0.3)) is not None:
                assert key not in working
                working.add(key)
                await asyncio.sleep(0)
                if key + 1 < keys:
                    queue.add(key + 1, Priority(key % 3))
                    queue.add((key * 7) % keys)
                seen.add(key)
                working.discard(key)
                queue.done(key) if len(seen) < keys else queue.forget(key)
                if len(seen) == keys:
                    return

        queue.add(0)
        await asyncio.wait_for(asyncio.gather(*(worker() for _ in range(4))), 10.0)
        assert seen == set(range(keys))

    asyncio.run(run())
