"""The endpoint over HTTP: what is taken, and what every kind of wrong push is answered with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import aiohttp
import pytest
from fake_cluster import AUDIENCE, Cluster, Pod, Signer, claims_of

from scenewright.telemetry.metrics import REGISTRY
from scenewright.telemetry.progress.endpoint import Pacer, ProgressEndpoint
from scenewright.telemetry.progress.store import ProgressStore
from scenewright.telemetry.progress.tokens import SigningKeys, TokenVerifier

POD = Pod()
BODY = {"run": "r-1", "step": "depth", "shard": 0, "samples": {"total": 9, "done": 4}, "busySeconds": 3.5}


@cache
def signer() -> Signer:
    return Signer("key-1")


class Served:
    """An endpoint that knows one Pod."""

    def __init__(self) -> None:
        self.store = ProgressStore(POD.created_at)
        self.pushed: list[str] = []
        verifier = TokenVerifier(SigningKeys(Cluster(signer()).fetch), AUDIENCE)
        known = {(POD.namespace, POD.name): POD}
        self.endpoint = ProgressEndpoint(
            verifier,
            lambda namespace, name: known.get((namespace, name)),
            self.store,
            lambda pod: self.pushed.append(pod.uid),
        )
        self.url = ""

    async def push(self, body: Any = BODY, token: str | None = None, **request: Any) -> int:
        headers = {"Authorization": f"Bearer {signer().sign(claims_of(POD)) if token is None else token}"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, data=data, headers=headers, **request) as answer,
        ):
            await answer.read()
            return answer.status


def served(work: Callable[[Served], Awaitable[Any]]) -> Served:
    """Runs `work` against a live endpoint."""

    async def run() -> Served:
        found = Served()
        port = await found.endpoint.start(0, "127.0.0.1")
        found.url = f"http://127.0.0.1:{port}/v1/progress"
        try:
            await work(found)
        finally:
            await found.endpoint.stop()
        return found

    return asyncio.run(run())


def status_of(body: Any = BODY, token: str | None = None) -> int:
    statuses: list[int] = []

    async def push(server: Served) -> None:
        statuses.append(await server.push(body, token))

    server = served(push)
    if statuses[0] != 204:
        assert not server.store.of(POD.owner_uid, 0.0), "a refused push must leave nothing"
    return statuses[0]


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("scenewright_progress_pushes_total", {"result": reason}) or 0.0


def test_a_push_is_counted_for_the_pods_object_and_step() -> None:
    async def push_twice(server: Served) -> None:
        assert [await server.push(), await server.push({**BODY, "busySeconds": 5.0})] == [204, 204]

    server = served(push_twice)
    totals = server.store.of("owner-1", time.monotonic())["depth"]
    assert (totals.done, totals.busy_seconds) == (4, 5.0) and totals.at is not None
    assert server.pushed == [POD.uid] * 2


@pytest.mark.parametrize(
    ("claims", "status", "reason"),
    [
        (claims_of(POD, exp=int(time.time()) - 60), 401, "expired"),
        (claims_of(POD, aud=["vault"]), 401, "audience"),
        (claims_of(Pod(uid="pod-2")), 404, "unknown-pod"),
        (claims_of(Pod(name="another-name")), 404, "unknown-pod"),
        (claims_of(Pod(namespace="other")), 404, "unknown-pod"),
    ],
)
def test_tokens_of_others_are_refused_and_counted(claims: dict[str, Any], status: int, reason: str) -> None:
    before = refused(reason)
    assert status_of(token=signer().sign(claims)) == status
    assert refused(reason) == before + 1


def test_a_forged_token_is_refused() -> None:
    assert status_of(token=Signer("key-1").sign(claims_of(POD))) == 401


def test_no_token_is_refused() -> None:
    assert status_of(token="") == 401


@pytest.mark.parametrize("change", [{"shard": 1}, {"step": "coarse"}])
def test_a_pod_speaks_for_its_own_part_only(change: dict[str, Any]) -> None:
    assert status_of({**BODY, **change}) == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {**BODY, "shard": -1},
        {**BODY, "busySeconds": 1e12},
        {**BODY, "samples": {"done": -1}},
        {**BODY, "samples": {"done": 10**30}},
        json.dumps({**BODY, "busySeconds": float("nan")}).encode(),
        {**BODY, "run": "r" * 100},
    ],
)
def test_bodies_that_do_not_fit_are_refused(body: Any) -> None:
    assert status_of(body) == 422


def test_fields_of_newer_workers_are_ignored() -> None:
    assert status_of({**BODY, "mood": "good"}) == 204


def test_a_large_body_is_refused_unread() -> None:
    assert status_of(b" " * 100_000) == 413


def test_only_one_path_and_method_exist() -> None:
    async def look_around(server: Served) -> None:
        async with aiohttp.ClientSession() as session:
            for path, expected in ((server.url, 405), (server.url.replace("/v1/progress", "/"), 404)):
                async with session.get(path) as answer:
                    assert answer.status == expected

    served(look_around)


def test_many_pods_are_asked_to_push_less_often() -> None:
    pacer = Pacer()
    assert [pacer.pause("a", 0.0), pacer.pause("a", 1.0)] == [2, 2]
    assert [pacer.pause(f"pod-{number}", 2.0) for number in range(1000)][-1] == 11
    assert pacer.pause("a", 200.0) == 2, "those that are gone no longer count"


@pytest.mark.serial
def test_a_push_costs_little() -> None:
    """300 Pods that push every 2 s must not be felt: below 2 ms of CPU a push, the client's part included."""
    seconds: list[float] = []

    async def push_many(server: Served) -> None:
        token = signer().sign(claims_of(POD))
        headers, data = {"Authorization": f"Bearer {token}"}, json.dumps(BODY).encode()
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                began = time.process_time()
                for _ in range(200):
                    async with session.post(server.url, data=data, headers=headers) as answer:
                        assert answer.status == 204
                seconds.append((time.process_time() - began) / 200)

    served(push_many)
    assert min(seconds) < 0.002
