"""Pods as the builders make them, started by a real kubelet: what their process may write, sees and pushes."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from job_building import Create, Owned, container_of, job_of, pod_of
from trials import folder_claim

from cluster import images
from cluster.whole_cluster import WholeCluster
from scenewright.execution.jobs import PodSettings
from scenewright.telemetry.progress.endpoint import ProgressEndpoint
from scenewright.telemetry.progress.store import ProgressStore, StepProgress
from scenewright.telemetry.progress.tokens import SigningKeys, TokenVerifier
from scenewright_stages.contract import pipeline as contract

pytestmark = pytest.mark.slow

IMAGES = dict.fromkeys(contract.IMAGES, images.BASE)
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c"}
OTHERS = {"AWS_PROFILE": "d", "LD_PRELOAD": "/evil.so"}
"""In the same Secret, and of no use to a stage."""
HOST = "10.244.0.1"
"""The node's address in the network of the Pods."""
PROMPT = "a room for $(HOME) and $5"

PROBE = """
import json, os, pathlib, socket, tempfile, urllib.request

task = json.loads(os.environ["SCENEWRIGHT_TASK"])

def writable(folder):
    try:
        path = pathlib.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / ".probe").write_text("x")
        (path / ".probe").unlink()
        return True
    except OSError:
        return False

def pushed():
    body = {"run": task["run"], "step": task["step"], "shard": int(os.environ["JOB_COMPLETION_INDEX"]),
            "samples": {"total": 4, "done": 3}, "busySeconds": 1.5}
    token = open(os.environ["SCENEWRIGHT_PROGRESS_TOKEN"]).read().strip()
    request = urllib.request.Request(os.environ["SCENEWRIGHT_PROGRESS_URL"], json.dumps(body).encode(),
                                     {"Authorization": "Bearer " + token})
    return urllib.request.urlopen(request, timeout=10).status

found = {
    "uid": os.getuid(), "groups": sorted(os.getgroups()), "index": os.environ["JOB_COMPLETION_INDEX"],
    "host": socket.gethostname(),
    "writable": {name: writable(os.environ[name]) for name in
                 ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR",
                  "TRITON_CACHE_DIR", "SCENEWRIGHT_SCRATCH")},
    "others": {folder: writable(folder) for folder in
               ("/", "/opt", "/var/tmp", "/dev/shm", "/models", "/models/compile")},
    "temporary": tempfile.gettempdir(),
    "account": pathlib.Path("/var/run/secrets/kubernetes.io").exists(),
    "keys": sorted(name for name in os.environ if name.startswith("AWS_")),
    "preloaded": os.environ.get("LD_PRELOAD", ""),
    "prompt": task["parameters"]["outpaint"]["prompt"],
    "pod": os.environ["SCENEWRIGHT_POD"],
}
if os.environ.get("SCENEWRIGHT_PROGRESS_URL"):
    found["pushed"] = pushed()
if task["step"] == "models":
    os.makedirs("/models/compile", exist_ok=True)
print("looked around")
open("/dev/termination-log", "w").write(json.dumps(found))
"""

SPEC: dict[str, Any] = {
    "vistadream": {"mode": "coarse", "outpaint": {"backend": "flux-fill", "prompt": PROMPT}},
    "models": {"acceptLicenses": ["flux-1-dev-non-commercial"], "cacheClaim": "weights"},
    "storage": {"secretName": "lab-s3"},
    "execution": {"stageOverrides": {"outpaint": {"resources": {"limits": {"memory": "128Mi", "cpu": "500m"}}}}},
}


@dataclass(frozen=True)
class KnownPod:
    """A Pod as an informer knows it."""

    namespace: str
    name: str
    uid: str
    step: str
    owner_uid: str
    index: int
    created_at: datetime


class Endpoint:
    """A progress endpoint on the node, in a thread of its own; it looks Pods up by asking."""

    def __init__(self, cluster: WholeCluster, namespace: str) -> None:
        self._plane, self._namespace = cluster.control_plane, namespace
        self.store = ProgressStore()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        verifier = TokenVerifier(SigningKeys(self._fetch), "scenewright-progress")
        self._endpoint = ProgressEndpoint(verifier, self._find, self.store)
        port = asyncio.run_coroutine_threadsafe(self._endpoint.start(0, HOST), self._loop).result(10)
        self.url = f"http://{HOST}:{port}/v1/progress"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._endpoint.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def totals(self, owner_uid: str) -> StepProgress:
        return self.store.of(owner_uid, time.monotonic())["outpaint"]

    async def _fetch(self, path: str) -> Mapping[str, Any]:
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        account = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/default/token"
        token = self._plane.api.create(account, request)["status"]["token"]
        context = ssl.create_default_context(cafile=str(self._plane.certificate_authority))
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.get(f"{self._plane.url}{path}", ssl=context) as answer,
        ):
            answer.raise_for_status()
            found: Mapping[str, Any] = await answer.json(content_type=None)
            return found

    def _find(self, namespace: str, name: str) -> KnownPod | None:
        pods = self._plane.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        for pod in pods:
            metadata = pod["metadata"]
            if metadata["name"] == name:
                labels = metadata["labels"]
                return KnownPod(
                    namespace,
                    name,
                    metadata["uid"],
                    labels["scenewright.io/step"],
                    labels["scenewright.io/owner-uid"],
                    int(labels["batch.kubernetes.io/job-completion-index"]),
                    datetime.fromisoformat(metadata["creationTimestamp"]).astimezone(UTC),
                )
        return None


@pytest.fixture(scope="module")
def namespace(whole_cluster: WholeCluster) -> Iterator[str]:
    """A namespace that enforces the restricted standard, with a volume for models and the storage's Secret."""
    images.move_to_node(images.BASE, whole_cluster.containerd)
    plane = whole_cluster.control_plane
    name = f"pods-{uuid.uuid4().hex[:8]}"
    plane.create_namespace(name, {"pod-security.kubernetes.io/enforce": "restricted"})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lab-s3"}, "stringData": {**KEYS, **OTHERS}}
    plane.api.create(f"/api/v1/namespaces/{name}/secrets", secret)
    folder = Path(f"/var/tmp/scenewright-{name}")
    folder.mkdir()
    folder.chmod(0o777)
    folder_claim(whole_cluster.target, name, "weights", folder)
    yield name
    # Pods of a Job that retries by index are not let go while the Job is there, and they are deleted first.
    plane.api.delete(f"/apis/batch/v1/namespaces/{name}/jobs?propagationPolicy=Background")
    plane.api.delete(f"/api/v1/namespaces/{name}")
    plane.api.delete(f"/api/v1/persistentvolumes/{name}-weights")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def endpoint(whole_cluster: WholeCluster, namespace: str) -> Iterator[Endpoint]:
    found = Endpoint(whole_cluster, namespace)
    yield found
    found.close()


def probed(job: dict[str, Any]) -> dict[str, Any]:
    """The Job with a probe in the worker's place, and without an owner, which the garbage collector would miss."""
    found = copy.deepcopy(job)
    del found["metadata"]["ownerReferences"]
    container = container_of(found)
    container["command"] = ["python3", "-c", PROBE]
    container["image"] = images.BASE
    if container["resources"]["limits"]["memory"] == "2Gi":
        container["resources"] = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}
    (memory,) = (volume for volume in pod_of(found)["volumes"] if volume["name"] == "shared-memory")
    memory["emptyDir"]["sizeLimit"] = "16Mi"
    return found


def findings(cluster: WholeCluster, namespace: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What the probes of a Job told, by index."""
    api, name = cluster.control_plane.api, job["metadata"]["name"]
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    api.create(f"{jobs}?fieldValidation=Strict", job)
    deadline = time.monotonic() + 120.0
    while not _has_ended(api.get(f"{jobs}/{name}")):
        assert time.monotonic() < deadline, cluster.target.kubectl("-n", namespace, "describe", "pods")
        time.sleep(0.2)
    pods = api.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector=batch.kubernetes.io/job-name={name}")["items"]
    states = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods]
    assert {state["exitCode"] for state in states} == {0}, states
    return sorted((json.loads(state["message"]) for state in states), key=lambda found: found["index"])


def _has_ended(job: dict[str, Any]) -> bool:
    conditions = job["status"].get("conditions", ())
    return any(condition["type"] in ("Complete", "Failed") for condition in conditions)


def test_what_a_stages_process_may_write_and_sees(
    whole_cluster: WholeCluster, namespace: str, endpoint: Endpoint
) -> None:
    owner = Owned(namespace=namespace, uid=str(uuid.uuid4()))
    settings = PodSettings(images=IMAGES, progress={"url": endpoint.url})  # type: ignore[arg-type]
    (filler,) = findings(whole_cluster, namespace, probed(job_of(Create("models"), settings, owner, **SPEC)))
    assert filler["others"]["/models"], "the models step fills the volume"

    stage = findings(whole_cluster, namespace, probed(job_of(Create("outpaint", shards=2), settings, owner, **SPEC)))
    assert [found["index"] for found in stage] == ["0", "1"]
    for found in stage:
        assert found["uid"] == 65532 and 65532 in found["groups"]
        assert set(found["writable"].values()) == {True}, found["writable"]
        readable_only = {"/": False, "/opt": False, "/var/tmp": False, "/models": False, "/models/compile": False}
        assert found["others"] == {**readable_only, "/dev/shm": True}
        assert found["temporary"] == "/tmp" and found["prompt"] == PROMPT
        assert not found["account"], "no rights in the cluster"
        assert found["keys"] == sorted(KEYS), "only the named keys of the Secret arrive"
        assert not found["preloaded"]
        assert len(found["host"]) <= 63 and found["host"].endswith(f"-{found['index']}")
        assert found["pushed"] == 204
    totals = endpoint.totals(owner.uid)
    assert (totals.done, totals.busy_seconds) == (6, 3.0)


@pytest.mark.parametrize(
    ("present", "missing"),
    [(None, 'secret "other-s3" not found'), ({"AWS_ACCESS_KEY_ID": "a"}, "couldn't find key AWS_SECRET_ACCESS_KEY")],
    ids=["no Secret", "half a Secret"],
)
def test_without_the_storages_keys_no_process_starts(
    whole_cluster: WholeCluster, namespace: str, present: dict[str, str] | None, missing: str
) -> None:
    """It would use the identity of the node."""
    api, core = whole_cluster.control_plane.api, f"/api/v1/namespaces/{namespace}"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-s3"}, "stringData": present}
    if present is not None:
        api.create(f"{core}/secrets", secret)
    owner, spec = Owned(namespace=namespace, uid=str(uuid.uuid4())), {**SPEC, "storage": {"secretName": "other-s3"}}
    job = probed(job_of(Create("index"), PodSettings(images=IMAGES), owner, **spec))
    api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs?fieldValidation=Strict", job)

    def waiting() -> dict[str, str]:
        selector = f"labelSelector=batch.kubernetes.io/job-name={job['metadata']['name']}"
        pods = api.get(f"{core}/pods?{selector}")["items"]
        states = [pod["status"].get("containerStatuses", [{}])[0].get("state", {}) for pod in pods]
        assert not [state for state in states if "terminated" in state or "running" in state], states
        return next((state["waiting"] for state in states if "message" in state.get("waiting", {})), {})

    deadline = time.monotonic() + 60.0
    while not (found := waiting()):
        assert time.monotonic() < deadline, whole_cluster.target.kubectl("-n", namespace, "describe", "pods")
        time.sleep(0.5)
    assert found["reason"] == "CreateContainerConfigError"
    assert missing in found["message"]
