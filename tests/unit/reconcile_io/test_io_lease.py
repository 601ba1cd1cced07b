"""At most one leads, and who cannot renew stops before another may begin."""

from __future__ import annotations

import asyncio
import copy
import random
import selectors
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from scenewright.kube.client import ApiError, Client
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.settings import LeaseSettings

SETTINGS = LeaseSettings(namespace="system", name="operator", seconds=10)


class LeaseServer:
    """One Lease with optimistic locking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.requests: list[str] = []

    async def _answer(self, verb: str) -> None:
        self.requests.append(verb)
        if self.away:
            raise ApiError(0, "Unreachable", "no route to host")

    async def get(self, _resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
        await self._answer("get")
        if self.lease is None:
            raise ApiError(404, "NotFound", "no lease")
        return copy.deepcopy(self.lease)

    async def create(self, _resource: Any, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._answer("create")
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "exists")
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = "1"
        return copy.deepcopy(self.lease)

    async def update(self, _resource: Any, _namespace: str, _name: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._answer("update")
        if self.lease is None:
            raise ApiError(404, "NotFound", "no lease")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "modified")
        version = int(self.lease["metadata"]["resourceVersion"]) + 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(version)
        return copy.deepcopy(self.lease)


class RefusingServer(LeaseServer):
    """Answers with each of these statuses in turn, then as usual; 0 is a request that hangs."""

    def __init__(self, statuses: list[int]) -> None:
        super().__init__()
        self.statuses = statuses

    async def _answer(self, verb: str) -> None:
        await super()._answer(verb)
        if self.statuses and self.lease is not None:
            status = self.statuses.pop(0)
            await asyncio.sleep(0.0 if status else 3600.0)
            raise ApiError(status, "Injected", "injected")


class UnsteadyServer(LeaseServer):
    """Carries requests out late, answers later, refuses some, and loses the answers of others."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    async def _answer(self, verb: str) -> None:
        await asyncio.sleep(self.random.expovariate(1 / 0.5))
        await super()._answer(verb)
        if self.random.random() < 0.3:
            raise ApiError(self.random.choice((410, 429, 500)), "Injected", "injected", retry_after=1.0)

    async def update(self, *arguments: Any) -> dict[str, Any]:
        # The request reaches the server even if the caller has lost patience meanwhile.
        answer = await asyncio.shield(asyncio.ensure_future(super().update(*arguments)))
        await asyncio.sleep(self.random.expovariate(1 / 0.5))
        if self.random.random() < 0.2:
            raise ApiError(0, "Unreachable", "the answer was lost")
        return answer


class JumpingSelector(selectors.SelectSelector):
    """Instead of waiting it lets its time pass."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing would ever happen again"
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where everybody waits."""

    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(server: LeaseServer, clock: Clock, name: str) -> Leadership:
    return Leadership(cast(Client, server), SETTINGS, name, clock=clock)


def attempt(*candidates: Leadership) -> None:
    for each in candidates:
        asyncio.run(each._round())


def test_the_first_leads_and_the_second_stands_by(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    attempt(first, second)
    assert (first.leads, second.leads) == (True, False)
    with pytest.raises(NotLeading):
        second.check()


def test_who_cannot_renew_stops_before_another_can_begin(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    attempt(first, second)
    began = {first: 0.0, second: 0.0}
    while not second.leads:
        clock.now += 0.5
        attempt(second)
        if first.leads:
            began[first] = clock.now
    assert began[first] < clock.now
    assert not first.leads


def test_a_live_leader_is_never_replaced(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    attempt(first)
    for _ in range(100):
        clock.now += 2.0
        attempt(first, second)
        assert (first.leads, second.leads) == (True, False)


def test_a_restarted_container_of_the_same_pod_continues_at_once(server: LeaseServer, clock: Clock) -> None:
    attempt(candidate(server, clock, "pod-0"))
    again = candidate(server, clock, "pod-0")
    attempt(again)
    assert again.leads


def test_a_released_lease_is_free_at_once(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    attempt(first)
    asyncio.run(first.release())
    attempt(second)
    assert (first.leads, second.leads) == (False, True)


def test_after_an_outage_the_old_leader_continues_if_nobody_took_over(server: LeaseServer, clock: Clock) -> None:
    first = candidate(server, clock, "a")
    attempt(first)
    server.away = True
    clock.now += 60.0
    attempt(first)
    assert not first.leads
    server.away = False
    attempt(first)
    assert first.leads


def now() -> float:
    """Time of the running loop; none runs when a later test scrapes the gauge that the candidates have left behind."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def in_loop(server: LeaseServer, name: str) -> Leadership:
    return Leadership(cast(Client, server), SETTINGS, name, clock=now)


@pytest.mark.parametrize("again_there", [True, False])
def test_who_was_replaced_leaves(server: LeaseServer, again_there: bool) -> None:
    """What it knows is no longer the newest, even if the other has left meanwhile; a fresh process takes its place."""

    async def play() -> None:
        first, second = in_loop(server, "a"), in_loop(server, "b")
        await first.acquire()
        await asyncio.sleep(60.0)
        await second.acquire()
        if not again_there:
            await second.release()
        with pytest.raises(NotLeading):
            await asyncio.wait_for(first.keep(), 5.0)
        assert not first.leads

    in_virtual_time(play())


async def seconds_without_leading(server: LeaseServer, seconds: float) -> float:
    """For how long somebody who keeps the lease all that time does not lead."""
    leader = in_loop(server, "a")
    await leader.acquire()
    keeper = asyncio.create_task(leader.keep())
    without = 0.0
    until = now() + seconds
    while now() < until:
        await asyncio.sleep(0.05)
        without += 0.0 if leader.leads else 0.05
    assert not keeper.done()
    keeper.cancel()
    return without


@pytest.mark.parametrize("statuses", [[410, 500], [500] * 4, [429, 503, 410], [0], [0, 500]])
def test_a_few_failures_in_a_row_cost_no_leadership(statuses: list[int]) -> None:
    server = RefusingServer(statuses)
    assert in_virtual_time(seconds_without_leading(server, 60.0)) == 0.0
    assert server.statuses == [], "all of them were injected"


def test_failures_for_as_long_as_the_lease_holds_do(server: LeaseServer) -> None:
    """The baseline that must lose: nobody acts on a lease that has really run out."""
    refusing = RefusingServer([500] * 12)
    assert in_virtual_time(seconds_without_leading(refusing, 60.0)) > 0.0


def test_a_renewal_is_one_request(server: LeaseServer) -> None:
    in_virtual_time(seconds_without_leading(server, 60.0))
    assert set(server.requests[2:]) == {"update"}
    # Every 2 s, give or take a fifth.
    assert 60 / 2.4 - 3 <= len(server.requests) <= 60 / 1.6 + 3


@pytest.mark.parametrize("by_hand", ["edited", "deleted"])
def test_a_lease_that_others_touch_is_renewed(server: LeaseServer, by_hand: str) -> None:
    async def play() -> None:
        leader = in_loop(server, "a")
        await leader.acquire()
        keeper = asyncio.create_task(leader.keep())
        assert server.lease is not None
        if by_hand == "edited":
            server.lease["metadata"]["resourceVersion"] = "100"
        else:
            server.lease = None
        for _ in range(200):
            await asyncio.sleep(0.1)
            assert leader.leads
        assert server.lease is not None and server.lease["spec"]["holderIdentity"] == "a"
        keeper.cancel()

    in_virtual_time(play())


def test_an_empty_lease_can_be_taken(server: LeaseServer, clock: Clock) -> None:
    server.lease = {"metadata": {"name": "operator", "namespace": "system", "resourceVersion": "1"}}
    first = candidate(server, clock, "a")
    attempt(first)
    assert first.leads


@pytest.mark.parametrize("seed", range(3))
def test_never_do_two_lead_however_unsteady_the_server_is(seed: int) -> None:
    """Three candidates that crash and come back, for an hour."""
    server = UnsteadyServer(seed)
    print(f"seed {seed}")
    random.seed(seed)

    async def operate(name: str, leads: dict[str, Leadership]) -> None:
        while True:
            leads[name] = in_loop(server, name)
            await leads[name].acquire()
            try:
                await asyncio.wait_for(leads[name].keep(), server.random.uniform(10.0, 600.0))
            except (NotLeading, TimeoutError):
                if server.random.random() < 0.5:
                    await leads[name].release()
                await asyncio.sleep(server.random.uniform(0.0, 30.0))

    async def play() -> tuple[set[str], int]:
        leads: dict[str, Leadership] = {}
        tasks = [asyncio.create_task(operate(name, leads)) for name in "abc"]
        leaders: set[str] = set()
        looks = 0
        while now() < 4600.0:
            await asyncio.sleep(0.25)
            found = [name for name, each in leads.items() if each.leads]
            assert len(found) <= 1, found
            leaders |= set(found)
            looks += len(found)
        for task in tasks:
            task.cancel()
        return leaders, looks

    leaders, looks = in_virtual_time(play())
    assert leaders == set("abc")
    assert looks > 0.5 * 3600 / 0.25, "most of the time somebody leads"


def test_two_candidates_at_the_same_moment_do_not_both_lead(server: LeaseServer, clock: Clock) -> None:
    candidates = [candidate(server, clock, name) for name in "abcde"]

    async def all_at_once() -> None:
        await asyncio.gather(*(each._round() for each in candidates))

    asyncio.run(all_at_once())
    assert sum(each.leads for each in candidates) == 1
