"""kopf hosts the process: what it hears is handed on, and with its end everything ends in order."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from scenewright.api.names import GROUP, PLURALS, VERSION
from scenewright.kube.client import ApiError, Client
from scenewright.kube.connection import Connection
from scenewright.reconcile import main
from scenewright.reconcile.hosting import HOST_FAILED, configured, credentials, host
from scenewright.reconcile.settings import OperatorSettings
from scenewright.telemetry.metrics import REGISTRY

ROOT = f"/apis/{GROUP}/{VERSION}"
COURTYARD = {
    "apiVersion": f"{GROUP}/{VERSION}",
    "kind": "SceneJob",
    "metadata": {"name": "courtyard", "namespace": "lab", "uid": "u-1", "resourceVersion": "7"},
    "spec": {},
}


def _resource(kind: str, plural: str) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch"]
    return {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": verbs}


def _group(name: str, version: str) -> dict[str, Any]:
    return {"name": name, "versions": [{"version": version}], "preferredVersion": {"version": version}}


DISCOVERED = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [_resource("Namespace", "namespaces"), _resource("Event", "events")]},
    "/apis": {"groups": [_group(GROUP, VERSION), _group("apiextensions.k8s.io", "v1")]},
    "/apis/apiextensions.k8s.io/v1": {
        "resources": [_resource("CustomResourceDefinition", "customresourcedefinitions")]
    },
    ROOT: {"resources": [_resource(kind, plural) for kind, plural in PLURALS.items()]},
}


class Server:
    """Enough of an API server for kopf; `watched` decides what a watch is answered."""

    def __init__(self, watched: Callable[[], dict[str, Any] | None] = lambda: None) -> None:
        self.watched = watched
        self.tokens: set[str] = set()

    async def start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.tokens.add(request.headers.get("Authorization", ""))
        path = request.path
        if path in DISCOVERED:
            return web.json_response(DISCOVERED[path])
        if request.query.get("watch") != "true":
            items = [COURTYARD] if path.endswith("scenejobs") else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := self.watched() if path.endswith("scenejobs") else None) is None:
            await asyncio.sleep(0.01)
        await response.write(json.dumps(event).encode() + b"\n")
        return response


class Work:
    """The operator's work: it notes that it began and that it was ended."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.then = then
        self.ended = False

    async def __call__(self) -> None:
        try:
            self.then()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


@contextmanager
def served(server: Server) -> Iterator[int]:
    """Its port. It has a loop of its own, for kopf ends all tasks of the loop that it runs in."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
    try:
        yield runner.addresses[0][1]
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def hosted(server: Server, work: Work, take: Callable[..., None] = lambda *_: None) -> int:
    """Exit code of a process that kopf hosts."""

    async def run(port: int) -> int:
        configuration = Configuration(host=f"http://127.0.0.1:{port}", api_key={"BearerToken": "bearer secret"})
        connection = Connection(configuration, "lab")
        try:
            async with asyncio.timeout(120):
                return await host(connection, (), take, work)
        finally:
            await connection.close()

    try:
        with served(server) as port:
            return asyncio.run(run(port))
    finally:
        # kopf leaves failed tasks behind. Python 3.11 cannot log one while it parses, as another test may when it is
        # collected.
        gc.collect()


def test_events_are_handed_on_and_a_signal_ends_everything_in_order() -> None:
    taken: list[tuple[str, str | None, str]] = []

    def take(kind: str, event: str | None, raw: dict[str, Any]) -> None:
        taken.append((kind, event, raw["metadata"]["name"]))
        signal.raise_signal(signal.SIGTERM)

    server, work = Server(), Work()
    assert hosted(server, work, take) == 0
    assert taken == [("SceneJob", None, "courtyard")]
    assert work.ended
    assert server.tokens == {"bearer secret"}, "kopf has the official client's credentials"


def test_work_that_fails_ends_the_process() -> None:
    def fail() -> None:
        raise RuntimeError("the lease is gone")

    work = Work(fail)
    assert hosted(Server(), work) == 1
    assert work.ended


def test_a_watch_that_fails_ends_the_work_and_both_may_start_again() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}}
    work = Work()
    assert hosted(Server(lambda: gone), work) == HOST_FAILED
    assert work.ended


def test_the_operator_starts_over_in_its_process_when_kopf_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a CRD is deleted and made again."""
    monkeypatch.setattr(main, "_AGAIN_SECONDS", 0.01)
    codes, made, looks = [HOST_FAILED, HOST_FAILED, 0], [], []

    async def fake_host(_connection: object, _namespaces: object, take: Any, _work: object) -> int:
        made.append(take.__self__)
        assert health_of(REGISTRY), "the gauges are those of the new operator"
        return codes.pop(0)

    async def fake_served(client: Any) -> None:
        looks.append(client)

    monkeypatch.setattr(main, "host", fake_host)
    monkeypatch.setattr(main, "served", fake_served)

    async def run() -> int:
        settings = OperatorSettings(metrics_port=0)
        return await main.run_operator(settings, Connection(Configuration(host="http://127.0.0.1:9"), "lab"))

    assert asyncio.run(run()) == 0
    assert len(made) == len({id(each) for each in made}) == len(looks) == 3, "nothing of the old one is used again"


def health_of(registry: Any) -> list[str]:
    return [family.name for family in registry.collect() if family.name == "scenewright_jobs"]


def test_kinds_that_are_not_served_yet_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_AGAIN_SECONDS", 0.01)
    everything = {"resources": [{"name": plural} for plural in PLURALS.values()]}
    answers: list[Any] = [
        ApiError(0, "Unreachable", "refused"),
        ApiError(404, "NotFound", "no such group"),
        {"resources": everything["resources"][:1]},
        everything,
    ]
    asked: list[str] = []

    class Discovery:
        async def document(self, path: str) -> dict[str, Any]:
            asked.append(path)
            answer = answers.pop(0)
            if isinstance(answer, ApiError):
                raise answer
            return answer  # type: ignore[no-any-return]

    asyncio.run(main.served(cast(Client, Discovery())))
    assert asked == [ROOT] * 4
    answers.append(ApiError(403, "Forbidden", "no discovery for you"))
    asyncio.run(main.served(cast(Client, Discovery())))


def test_an_event_that_is_not_understood_costs_no_other_one() -> None:
    changed = {
        "type": "MODIFIED",
        "object": {**COURTYARD, "metadata": {**COURTYARD["metadata"], "resourceVersion": "8"}},
    }  # type: ignore[dict-item]
    seen: list[str] = []

    def take(_kind: str, _event: str | None, raw: dict[str, Any]) -> None:
        seen.append(raw["metadata"]["resourceVersion"])
        if len(seen) == 1:
            raise ValueError("what is that?")
        signal.raise_signal(signal.SIGTERM)

    assert hosted(Server(lambda: changed if seen else None), Work(), take) == 0
    assert seen[:2] == ["7", "8"]


def test_an_api_server_that_is_away_is_waited_for() -> None:
    pauses = list(itertools.islice(configured().networking.error_backoffs, 1000))  # type: ignore[arg-type]
    assert len(pauses) == 1000
    assert max(pauses) <= 30


def test_kopf_kills_the_process_only_within_the_grace_of_a_pod() -> None:
    assert 10 <= (configured().process.ultimate_exiting_timeout or 600.0) < 30


@pytest.mark.parametrize(
    ("key", "expected"), [({}, {}), ({"BearerToken": "Bearer abc\n"}, {"Authorization": "Bearer abc"})]
)
def test_credentials_are_the_official_clients(key: dict[str, str], expected: dict[str, str]) -> None:
    async def read() -> dict[str, str]:
        connection = Connection(Configuration(host="https://api:6443", api_key=key))
        try:
            return (await credentials(connection)).as_http_headers()
        finally:
            await connection.close()

    assert asyncio.run(read()) == expected


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "api"}, None),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
    ],
)
def test_the_environments_proxy_is_looked_up_once_and_not_by_each_request(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def run() -> None:
        connection = Connection(Configuration(host="https://api:6443"))
        try:
            for pool in (connection.requests, connection.watches):
                assert pool.rest_client.proxy == proxy
                async with pool.rest_client._create_pool_manager() as session:
                    assert not session.trust_env
            assert (await credentials(connection)).proxy_url == proxy
        finally:
            await connection.close()

    asyncio.run(run())
