"""The operator as a process against a control plane whose Pods are simulated, and objects for it to work on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from gpu_chain_pipeline import STAGES
from plugins import with_plugins

from cluster import Behaviour, ControlPlane, FaultProxy
from cluster.api import ApiError
from cluster.processes import free_ports
from scenewright.api.crds import crd
from scenewright.api.kinds import KINDS
from scenewright_stages.contract.pipeline import IMAGES
from scenewright_stages.contract.reports import Report, StageCounts

SYSTEM = "scenewright-system"
ACCOUNT = "scenewright"
USER = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
OBJECTS = "/apis/scenewright.io/v1alpha1/namespaces/{}/scenejobs"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ENDED = ("Complete", "Failed")


def install(cluster: ControlPlane) -> None:
    """CRDs that also accept the test's pipeline, and the operator's account with its rights."""
    for kind in KINDS:
        definition = crd(kind, built_in=True)
        if kind == "SceneJob":
            _accept_chain(definition)
        cluster.api.apply(f"{_CRDS}/{definition['metadata']['name']}", definition)
    if SYSTEM not in {each["metadata"]["name"] for each in cluster.api.get("/api/v1/namespaces")["items"]}:
        cluster.create_namespace(SYSTEM)
    for path, manifest in _rights():
        cluster.api.apply(path, manifest)
    eventually(lambda: _served(cluster), 30, "the CRDs are served")
    _wait_for_garbage_collector(cluster)


def _wait_for_garbage_collector(cluster: ControlPlane) -> None:
    """It looks for new kinds every 30 s; until then nothing that has an owner of ours is collected."""
    owner = {"apiVersion": "scenewright.io/v1alpha1", "kind": "SceneJob", "name": "nobody", "uid": str(uuid.uuid4())}
    probe = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"probe-{owner['uid']}", "namespace": SYSTEM, "ownerReferences": [owner]},
    }
    path = f"/api/v1/namespaces/{SYSTEM}/configmaps"
    cluster.api.create(path, probe)
    name = probe["metadata"]["name"]  # type: ignore[index]
    eventually(
        lambda: name not in {each["metadata"]["name"] for each in cluster.api.get(path)["items"]},
        120,
        "the garbage collector knows our kinds",
        1.0,
    )


def _accept_chain(definition: dict[str, Any]) -> None:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["gpuChain"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    rules = schema.get("x-kubernetes-validations", [])
    schema["x-kubernetes-validations"] = [rule for rule in rules if "has(self.vistadream)" not in rule["rule"]]


def _served(cluster: ControlPlane) -> bool:
    try:
        return cluster.api.get(OBJECTS.format("default"))["kind"] == "SceneJobList"
    except Exception:
        return False


def _rights() -> Iterator[tuple[str, dict[str, Any]]]:
    rules = [
        _rule(
            "scenewright.io",
            ["scenejobs", "datasetjobs", "tuningruns"],
            ["list", "watch", "create", "patch", "delete"],
        ),
        _rule("scenewright.io", ["scenejobs/status", "datasetjobs/status", "tuningruns/status"], ["patch"]),
        _rule("batch", ["jobs"], ["get", "list", "watch", "create", "patch", "delete"]),
        _rule("", ["pods"], ["list", "watch"]),
        _rule("", ["pods/status"], ["patch"]),
        _rule("", ["events"], ["create", "list"]),
        _rule("", ["nodes"], ["get", "list"]),
        _rule("", ["persistentvolumeclaims"], ["get"]),
        _rule("coordination.k8s.io", ["leases"], ["create", "get", "update"]),
        {"nonResourceURLs": ["/openid/v1/jwks", "/.well-known/openid-configuration"], "verbs": ["get"]},
    ]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": SYSTEM}}
    yield f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}", account
    yield from granted(ACCOUNT, rules)


def granted(name: str, rules: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths and manifests of a ClusterRole of that name and of its binding to the operator's account."""
    kind, metadata = "rbac.authorization.k8s.io/v1", {"name": name}
    role = {"apiVersion": kind, "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    yield f"/apis/{kind}/clusterroles/{name}", role
    binding = {
        "apiVersion": kind,
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}],
    }
    yield f"/apis/{kind}/clusterrolebindings/{name}", binding


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


@dataclass
class OperatorProcess:
    """One operator; restartable under the same identity, as its Deployment does."""

    cluster: ControlPlane
    folder: Path
    name: str = "operator-0"
    proxy: FaultProxy | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> OperatorProcess:
        """Starts it and waits until it is ready or stands by."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_ports(1)[0]
        config = self.folder / f"{self.name}.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT, *((self.proxy,) if self.proxy else ()))
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": self.name,
            "SCENEWRIGHT_OPERATOR_CONFIG": str(config),
            **with_plugins(gpuChain="gpu_chain_pipeline:PIPELINE"),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scenewright.cli.main", "operator"], env=environment, stderr=log, stdout=log
            )
        return self

    @property
    def log(self) -> Path:
        """Where it logs to."""
        return self.folder / f"{self.name}.log"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, seconds: float = 60.0) -> OperatorProcess:
        """Waits until its caches are filled and it works."""
        eventually(lambda: self._answers("/readyz"), seconds, "the operator is ready")
        return self

    def wait_alive(self, seconds: float = 60.0) -> OperatorProcess:
        """Waits until it answers, which it also does while it stands by."""
        eventually(lambda: self._answers("/healthz"), seconds, "the operator answers")
        return self

    def kill(self) -> None:
        """As a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As a rollout does; returns its exit code."""
        return self._end(signal.SIGTERM)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", self.scrape(), flags=re.MULTILINE)
        return sum(float(value) for found, value in lines if all(each in found for each in wanted))

    def phases(self) -> dict[str, float]:
        """How many objects it counts in each phase."""
        found = re.findall(r'^scenewright_jobs\{.*phase="(\w+)"\} (\S+)$', self.scrape(), flags=re.MULTILINE)
        return {phase: float(value) for phase, value in found}

    def scrape(self) -> str:
        """The text of its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_megabytes(self) -> float:
        """Most memory that it has had."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) / 1024

    def _answers(self, path: str) -> bool:
        if not self.running:
            raise AssertionError(f"the operator has ended: {self.log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _config(self) -> dict[str, Any]:
        return {
            "metricsPort": self.port,
            "logFormat": "text",
            "lease": {"namespace": SYSTEM, "name": "scenewright-operator", "seconds": 10},
            "progress": {"enabled": True, "port": free_ports(1)[0], "url": "http://127.0.0.1:1/"},
            "pods": {"images": {name: f"scenewright/{name}:test" for name in IMAGES}},
            **self.overrides,
        }

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def operator_on(cluster: ControlPlane, folder: Path, **arguments: Any) -> Iterator[OperatorProcess]:
    """An operator that works, until the end of the block."""
    operator = OperatorProcess(cluster, folder, **arguments).start()
    try:
        yield operator.wait_ready()
    finally:
        if operator.running:
            operator.kill()


@contextmanager
def restarting(operator: OperatorProcess) -> Iterator[list[int]]:
    """Starts the operator again whenever it ends, as the kubelet does; yields the exit codes until now."""
    codes: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            if operator.process is not None and not operator.running:
                codes.append(operator.process.returncode)
                operator.start()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield codes
    finally:
        stop.set()
        thread.join()


def chain_object(name: str, output: str = "", **spec: Any) -> dict[str, Any]:
    """A SceneJob of the three GPU stages with a prefix as its input, so that nothing is folded."""
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": name},
        "spec": {
            "input": {"uri": "s3://photos/curated/"},
            "output": {"uri": output or f"s3://scenes/{name}"},
            "storage": {"secretName": "lab-s3"},
            "gpuChain": {},
            "execution": {"samplesPerShard": 4},
            **spec,
        },
    }


def behaviours(seconds: float | tuple[float, float] = 1.0, samples: int = 16, shards: int = 4) -> dict[str, Behaviour]:
    """Index and publish with their reports, stages that take `seconds`."""
    todo = {name: StageCounts(total=samples, todo=samples, shards=shards) for name in STAGES}
    done = {name: StageCounts(total=samples, done=samples) for name in STAGES}
    index = Report(step="index", samples=samples, stages=todo)
    publish = Report(step="publish", samples=samples, stages=done, outputs={"results": "s3://scenes/"})
    return {
        "index": Behaviour(seconds=0.2, message=index.to_bytes().decode()),
        "publish": Behaviour(seconds=0.2, message=publish.to_bytes().decode()),
        "default": Behaviour(seconds=seconds),
    }


def create(cluster: ControlPlane, namespace: str, manifests: Iterable[dict[str, Any]]) -> None:
    """Creates objects one after another."""
    for manifest in manifests:
        cluster.api.create(OBJECTS.format(namespace), manifest)


def objects(cluster: ControlPlane, namespace: str) -> dict[str, dict[str, Any]]:
    """All SceneJobs by name."""
    items = cluster.api.get(OBJECTS.format(namespace))["items"]
    return {each["metadata"]["name"]: each for each in items}


def phases(cluster: ControlPlane, namespace: str) -> dict[str, str]:
    """Phase by name; of an object that was edited since, nothing."""
    return {
        name: each.get("status", {}).get("phase", "")
        if each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"]
        else ""
        for name, each in objects(cluster, namespace).items()
    }


def all_ended(cluster: ControlPlane, namespace: str) -> bool:
    """Whether every object has reached its end."""
    return all(phase in ENDED for phase in phases(cluster, namespace).values())


def eventually(read: Callable[[], Any], seconds: float, what: str, pause: float = 0.5) -> Any:
    """The first true value of `read`, within a time; a server that does not answer at the moment has none."""
    deadline = time.monotonic() + seconds
    while not (value := _answer_of(read)):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)
    return value


def _answer_of(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError:
        return None
    except ApiError as error:
        # A server that has just started asks to come again, while it reads its storage.
        if error.code != 429:
            raise
        return None
