"""The progress endpoint with tokens that a real API server made: projected, Pod-bound, verified without asking it."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import operator_process as op
import pytest
from operator_fixtures import Bench, bench, serving

from cluster import ControlPlane
from cluster.processes import free_ports
from scenewright.telemetry.progress.endpoint import ProgressEndpoint
from scenewright.telemetry.progress.store import ProgressStore
from scenewright.telemetry.progress.tokens import PodIdentity, SigningKeys, TokenVerifier

__all__ = ["bench", "serving"]
AUDIENCE = "scenewright-progress"
BODY = {"run": "r-1", "step": "depth", "shard": 0, "samples": {"total": 9, "done": 4}}


@dataclass(frozen=True)
class Pod:
    """A Pod as an informer knows it."""

    namespace: str
    name: str
    uid: str
    step: str = "depth"
    owner_uid: str = "owner-1"
    index: int = 0
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> Pod:
    return made_pod(control_plane, namespace)


def made_pod(control_plane: ControlPlane, namespace: str) -> Pod:
    """A new Pod that never starts."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"s-courtyard-{uuid.uuid4().hex[:8]}"},
        "spec": {"containers": [{"name": "worker", "image": "none"}], "nodeSelector": {"nobody": "has-this"}},
    }
    made = control_plane.api.create(f"/api/v1/namespaces/{namespace}/pods", manifest)
    return Pod(namespace, made["metadata"]["name"], made["metadata"]["uid"])


def token_of(control_plane: ControlPlane, pod: Pod, audience: str | None = AUDIENCE, *, bound: bool = True) -> str:
    """What the kubelet asks for when it projects a token into a Pod."""
    spec: dict[str, Any] = {"expirationSeconds": 3600, "audiences": [audience] if audience else []}
    if bound:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/default/token"
    found: str = control_plane.api.create(path, request)["status"]["token"]
    return found


def fetcher(control_plane: ControlPlane, pod: Pod) -> Callable[[str], Awaitable[Mapping[str, Any]]]:
    """Asks the API server as an ordinary service account."""
    token = token_of(control_plane, pod, audience=None, bound=False)
    context = ssl.create_default_context(cafile=str(control_plane.certificate_authority))

    async def fetch(path: str) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{control_plane.url}{path}", ssl=context) as answer,
        ):
            answer.raise_for_status()
            found: Mapping[str, Any] = await answer.json(content_type=None)
            return found

    return fetch


def test_a_real_token_names_its_pod(control_plane: ControlPlane, pod: Pod) -> None:
    verifier = TokenVerifier(SigningKeys(fetcher(control_plane, pod)), AUDIENCE)
    identity = asyncio.run(verifier.verify(token_of(control_plane, pod)))
    assert identity == PodIdentity(pod.namespace, pod.name, pod.uid)


def test_pushes_with_real_tokens(control_plane: ControlPlane, pod: Pod) -> None:
    """The Pod's own token is taken; one for the API server, one without a Pod and a changed one are not."""
    own = token_of(control_plane, pod)
    tokens = {
        "own": own,
        "for the API server": token_of(control_plane, pod, audience=None),
        "of no Pod": token_of(control_plane, pod, bound=False),
        "changed": _with_other_pod(own),
        "of another Pod": token_of(control_plane, made_pod(control_plane, pod.namespace)),
    }
    statuses: dict[str, int] = {}
    store = ProgressStore()

    async def push_all() -> None:
        verifier = TokenVerifier(SigningKeys(fetcher(control_plane, pod)), AUDIENCE)
        known = {(pod.namespace, pod.name): pod}
        endpoint = ProgressEndpoint(verifier, lambda namespace, name: known.get((namespace, name)), store)
        port = await endpoint.start(0, "127.0.0.1")
        async with aiohttp.ClientSession() as session:
            for name, token in tokens.items():
                headers = {"Authorization": f"Bearer {token}"}
                url = f"http://127.0.0.1:{port}/v1/progress"
                async with session.post(url, json=BODY, headers=headers) as answer:
                    statuses[name] = answer.status
        await endpoint.stop()

    asyncio.run(push_all())
    assert statuses == {
        "own": 204,
        "for the API server": 401,
        "of no Pod": 401,
        "changed": 401,
        "of another Pod": 404,
    }
    assert store.of("owner-1", time.monotonic())["depth"].done == 4


def test_the_api_server_refuses_the_token_itself(control_plane: ControlPlane, pod: Pod) -> None:
    """What a Pod holds to push its progress gives it no rights in the cluster."""

    async def ask() -> int:
        context = ssl.create_default_context(cafile=str(control_plane.certificate_authority))
        headers = {"Authorization": f"Bearer {token_of(control_plane, pod)}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{control_plane.url}/api/v1/namespaces/{pod.namespace}/pods", ssl=context) as answer,
        ):
            return answer.status

    assert asyncio.run(ask()) == 401


def test_keys_are_known_again_after_the_api_server_was_away(control_plane: ControlPlane, pod: Pod) -> None:
    """Pushes go on while the API server is away, and new keys are found once it is back."""
    clock = [0.0]
    fetch, away = fetcher(control_plane, pod), [False]

    async def flaky(path: str) -> Mapping[str, Any]:
        if away[0]:
            raise ConnectionError("away")
        return await fetch(path)

    async def go() -> list[str]:
        keys = SigningKeys(flaky, lambda: clock[0])
        await keys.refresh()
        away[0], clock[0] = True, 100.0
        verifier = TokenVerifier(keys, AUDIENCE)
        first = await verifier.verify(token_of(control_plane, pod))
        await keys.key("unknown")
        away[0], clock[0] = False, 200.0
        await keys.key("unknown")
        return [first.uid, (await verifier.verify(token_of(control_plane, pod))).uid]

    assert asyncio.run(go()) == [pod.uid, pod.uid]


def _with_other_pod(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["kubernetes.io"]["pod"]["uid"] = str(uuid.uuid4())
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"


def post(url: str, token: str, body: Mapping[str, Any]) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def stage_pods(bench: Bench, stage: str) -> list[dict[str, Any]]:
    """The running Pods of a stage, by index."""
    selector = f"labelSelector=scenewright.io/step={stage}"
    pods = bench.cluster.api.get(f"/api/v1/namespaces/{bench.namespace}/pods?{selector}")["items"]
    return [pod for pod in pods if pod["status"].get("phase") == "Running"]


@pytest.mark.slow
def test_pushes_become_status_and_metrics_of_a_running_operator(bench: Bench) -> None:
    """Four simulated Pods push as a worker does: the object tells progress, rate, expected end and GPU time."""
    port = free_ports(1)[0]
    progress = {"enabled": True, "port": port, "url": f"http://127.0.0.1:{port}/v1/progress"}
    operator = bench.operator(progress=progress, statusSeconds=0.5).start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(600.0))
    op.create(bench.cluster, bench.namespace, [op.chain_object("pushed")])
    pods = op.eventually(lambda: [pods for pods in [stage_pods(bench, "paint")] if len(pods) == 4], 60, "four Pods")[0]
    run = pods[0]["metadata"]["labels"]["scenewright.io/run"]
    tokens = [token_of(bench.cluster, _pod_like(pod, bench)) for pod in pods]
    indexes = [int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]) for pod in pods]

    def push(done: int, step: str = "paint") -> list[int]:
        counters = {"endedHere": done, "busySeconds": 10.0 * done, "waitingSeconds": 5.0}
        body = {"run": run, "step": step, "samples": {"total": 4, "done": done}, **counters}
        pairs = zip(tokens, indexes, strict=True)
        return [post(progress["url"], token, {**body, "shard": index}) for token, index in pairs]

    assert push(0) == [204] * 4
    time.sleep(1.0)
    assert push(2) == [204] * 4

    def status() -> dict[str, Any]:
        found: dict[str, Any] = op.objects(bench.cluster, bench.namespace)["pushed"].get("status", {})
        return found

    def stage() -> dict[str, Any]:
        return next((each for each in status().get("stages", ()) if each["name"] == "paint"), {})

    op.eventually(lambda: stage().get("samples", {}).get("done") == 8, 30, f"eight of 16; {bench.explain()}")
    found = stage()
    assert found["samplesPerMinute"] > 0.0 and found["eta"] and found["gpuBusySeconds"] >= 80.0
    assert status()["progress"] == "8/48" and status()["rate"]
    assert operator.metric("scenewright_progress_pushes_total", result="accepted") == 8
    gpu_time = {"busy": 80.0, "waiting": 20.0}
    for state, seconds in gpu_time.items():
        # Counted with the write of the status.
        metric = functools.partial(operator.metric, "scenewright_gpu_seconds_total", state=state)
        op.eventually(lambda metric=metric, seconds=seconds: metric() == seconds, 10, f"GPU time {state}")
    assert push(3, "shape") == [403] * 4
    assert post(progress["url"], token_of(bench.cluster, _pod_like(pods[0], bench), audience=None), {}) == 401
    assert operator.metric("scenewright_progress_pushes_total", result="wrong-pod") == 4
    assert operator.metric("scenewright_progress_pushes_total", result="audience") == 1


def _pod_like(pod: dict[str, Any], bench: Bench) -> Pod:
    return Pod(bench.namespace, pod["metadata"]["name"], pod["metadata"]["uid"])
