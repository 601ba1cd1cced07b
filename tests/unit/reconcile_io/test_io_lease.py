"""At most one leads, and who cannot renew stops before another may begin."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.settings import LeaseSettings

SETTINGS = LeaseSettings(namespace="system", name="operator", seconds=10)


class LeaseServer:
    """One Lease with optimistic locking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise ApiError(0, "Unreachable", "no route to host")

    async def get(self, _resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
        self._answer()
        if self.lease is None:
            raise ApiError(404, "NotFound", "no lease")
        return copy.deepcopy(self.lease)

    async def create(self, _resource: Any, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "exists")
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = "1"
        return self.lease

    async def update(self, _resource: Any, _namespace: str, _name: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "modified")
        version = int(self.lease["metadata"]["resourceVersion"]) + 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(version)
        return self.lease


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


def test_a_restarted_container_of_the_same_pod_goes_on_at_once(server: LeaseServer, clock: Clock) -> None:
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


def test_after_an_outage_the_old_leader_goes_on_if_nobody_took_over(server: LeaseServer, clock: Clock) -> None:
    first = candidate(server, clock, "a")
    attempt(first)
    server.away = True
    clock.now += 60.0
    attempt(first)
    assert not first.leads
    server.away = False
    attempt(first)
    assert first.leads


def test_who_was_replaced_leaves(server: LeaseServer, clock: Clock) -> None:
    """What it knows is no longer the newest; a fresh process has to take its place."""
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    attempt(first, second)
    clock.now += 60.0
    attempt(second)
    assert second.leads
    first._interval = lambda: 0.0  # type: ignore[method-assign]
    with pytest.raises(NotLeading):
        asyncio.run(asyncio.wait_for(first.keep(), 5.0))


def test_two_candidates_at_the_same_moment_do_not_both_lead(server: LeaseServer, clock: Clock) -> None:
    candidates = [candidate(server, clock, name) for name in "abcde"]

    async def all_at_once() -> None:
        await asyncio.gather(*(each._round() for each in candidates))

    asyncio.run(all_at_once())
    assert sum(each.leads for each in candidates) == 1
