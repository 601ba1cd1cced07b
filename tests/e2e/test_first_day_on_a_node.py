"""A lab's first day on a real node: its volume, its certificates, injected proxies, and a policy that refuses Pods.

One object lives through all of it. A policy refuses its Pods until the policy goes. Each Pod gets a proxy beside the
worker that never ends by itself, as Istio's classic sidecar, and whose name sorts before the worker's. Its storage
answers by TLS, with a certificate of an authority that only the lab knows. A second object runs beside it, in a
namespace whose proxies are native sidecars.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from trials import Trial, folder_claim, upgraded_chart
from worker_watch import worker_processes

from cluster import chart, images, network, storage, trial
from cluster.processes import ProcessGroup
from cluster.storage import StorageServer
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow

NAMESPACE, NATIVE = "first-day", "first-day-native"
NAME = "meshed"
SECRET = "tls-s3"
STAGES = ("outpaint", "depth", "initialize", "coarse", "render")
SMALL = {"requests": {"cpu": "400m", "memory": "1Gi"}}
"""Two objects fit on the node, one of them with a Pod that does not end."""
TINY = {"mode": "coarse", "maxResolution": 128, "coarse": {"frames": 1, "iterationsPerFrame": 20}}
PROXY = "istio-proxy"
ADMISSION = "admissionregistration.k8s.io"
REFUSAL = "label team is missing"
QUIT_URL = "http://127.0.0.1:15020/quitquitquit"
PROXY_PROGRAM = """
import http.server, signal, sys, threading

class Agent(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/quitquitquit":
            threading.Thread(target=self.server.shutdown).start()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 15020), Agent).serve_forever()
"""
"""Runs until it is told to end, at the address where Istio's agent is told."""
QUIT_PROGRAM = f"import urllib.request; urllib.request.urlopen(urllib.request.Request({QUIT_URL!r}, b''))"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"cost-centre": "vision"}, "annotations": {"lab.example.org/owner": "graphics"}},
    "caBundle": {"configMap": "lab-ca"},
    "spec": {
        "volumes": [{"name": "reference", "persistentVolumeClaim": {"claimName": "reference", "readOnly": True}}],
        "containers": [
            {
                "name": "worker",
                "env": [{"name": "LAB_SITE", "value": "basement"}],
                "envFrom": [{"configMapRef": {"name": "lab-environment"}}],
                "volumeMounts": [{"name": "reference", "mountPath": "/reference", "readOnly": True}],
            }
        ],
    },
}


def job(name: str, template: dict[str, Any] | None = None) -> dict[str, Any]:
    overrides = {stage: {"resources": SMALL} for stage in STAGES}
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": name},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{NAMESPACE}.jpg"},
            "output": {"uri": f"s3://{trial.SCENES}/{name}"},
            "storage": {"secretName": SECRET if template else trial.SECRET},
            "vistadream": TINY,
            "execution": {"stageOverrides": overrides, **({"template": template} if template else {})},
        },
    }


def of_namespace(namespace: str) -> dict[str, Any]:
    """What an admission policy is asked about: Pods of stages in one namespace."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "objectSelector": {"matchExpressions": [{"key": "scenewright.io/step", "operator": "Exists"}]},
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }


def injecting(namespace: str, native: bool) -> list[dict[str, Any]]:
    """A policy that puts a proxy into each Pod, as a mesh's webhook does, and its binding."""
    kind = "Object.spec.initContainers" if native else "Object.spec.containers"
    capabilities = f"{kind}.securityContext.capabilities{{drop: ['ALL']}}"
    restricted = f"allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {capabilities}"
    fields = {
        "name": f"'{PROXY}'",
        "image": f"'{images.BASE}'",
        "command": f"['python3', '-c', {json.dumps(PROXY_PROGRAM)}]",
        "securityContext": f"{kind}.securityContext{{{restricted}}}",
        **({"restartPolicy": "'Always'"} if native else {}),
    }
    proxy = f"{kind}{{{', '.join(f'{name}: {value}' for name, value in fields.items())}}}"
    # The API server panics when it is given a list that holds an object.
    begin = "JSONPatch{op: 'add', path: '/spec/initContainers', value: []}, " if native else ""
    place = "/spec/initContainers/0" if native else "/spec/containers/0"
    expression = f"[{begin}JSONPatch{{op: 'add', path: '{place}', value: {proxy}}}]"
    policy = {
        "reinvocationPolicy": "Never",
        "matchConstraints": of_namespace(namespace),
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    return [
        manifest("MutatingAdmissionPolicy", f"mesh-{namespace}", policy),
        manifest("MutatingAdmissionPolicyBinding", f"mesh-{namespace}", {"policyName": f"mesh-{namespace}"}),
    ]


def refusing(namespace: str) -> list[dict[str, Any]]:
    """A policy that refuses Pods without a label that none of ours has, and its binding."""
    rule = {"expression": "'team' in object.metadata.labels", "message": REFUSAL}
    policy = {"matchConstraints": of_namespace(namespace), "validations": [rule]}
    binding = {"policyName": f"labels-{namespace}", "validationActions": ["Deny"]}
    return [
        manifest("ValidatingAdmissionPolicy", f"labels-{namespace}", policy),
        manifest("ValidatingAdmissionPolicyBinding", f"labels-{namespace}", binding),
    ]


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = f"{ADMISSION}/{'v1beta1' if kind.startswith('Mutating') else 'v1'}"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def apply(cluster: WholeCluster, manifests: list[dict[str, Any]]) -> None:
    text = "\n---\n".join(map(json.dumps, manifests))
    cluster.target.kubectl("apply", "--server-side", "-f", "-", manifest=text)


def delete(cluster: WholeCluster, manifests: list[dict[str, Any]]) -> None:
    text = "\n---\n".join(map(json.dumps, reversed(manifests)))
    cluster.target.kubectl("delete", "--ignore-not-found", "-f", "-", manifest=text)


def admitted(cluster: WholeCluster, namespace: str) -> str:
    """What admission makes of a Pod that looks like a stage's, or why it is refused. Nothing is created."""
    container = {
        "name": "worker",
        "image": images.BASE,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "labels": {"scenewright.io/step": "probe"}},
        "spec": {"containers": [container], "securityContext": security},
    }
    arguments = ("create", "--dry-run=server", "--output", "json", "-f", "-")
    try:
        return cluster.target.kubectl("--namespace", namespace, *arguments, manifest=json.dumps(pod))
    except RuntimeError as error:
        return str(error)


def eventually(ask: Callable[[], Any], seconds: float, explain: Callable[[], str], pause: float = 0.3) -> Any:
    """The first answer that is not empty."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, explain()
        time.sleep(pause)
    return found


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """The lab's authority, and certificate and key of a server at the node's address."""

    def make(name: str, *arguments: str) -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    make("ca", "-subj", "/CN=the lab's authority")
    address = f"subjectAltName=IP:{network.NODE_ADDRESS}"
    make(
        "s3",
        "-subj",
        "/CN=s3",
        "-addext",
        address,
        "-addext",
        "basicConstraints=CA:FALSE",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
    )
    return folder / "ca.crt", folder / "s3.crt", folder / "s3.key"


@dataclass
class Day:
    """What was seen in the course of the day.

    Attributes:
        authority: file with the lab's certificate.
        secure: the storage with that authority's certificate.
        refused: status of the object while the policy refused its Pods, and how many Pods it had.
        worker: variables of the first worker's process, and the files that it saw, by path.
        held: status of the object while a proxy outlived its worker, and that Pod.
    """

    meshed: Trial
    native: Trial
    authority: Path
    secure: StorageServer
    refused: tuple[dict[str, Any], int] = ({}, 0)
    worker: tuple[dict[str, str], dict[str, str]] = ({}, {})
    held: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def waits_for(self, reason: str) -> dict[str, Any]:
        """The object's status, if it waits for this reason."""
        status = self.meshed.status(NAME)
        return status if (status.get("phase"), status.get("reason")) == ("Waiting", reason) else {}

    def look_into_worker(self) -> tuple[dict[str, str], dict[str, str]] | None:
        """A worker of the object that runs now: its variables, and the files of the template as it sees them."""
        pods = {pod["metadata"]["uid"] for pod in self.meshed.pods(NAME)}
        for number, variables in worker_processes():
            if variables.get("SCENEWRIGHT_POD") in pods:
                root, paths = Path(f"/proc/{number}/root"), ("/reference/lens.txt", variables.get("SSL_CERT_FILE", ""))
                try:
                    return dict(variables), {path: (root / path[1:]).read_text() for path in paths if path}
                except OSError:
                    continue
        return None

    def held_pod(self) -> dict[str, Any]:
        """The Pod whose worker has ended while its proxy runs."""
        for pod in self.meshed.pods(NAME):
            states = states_of(pod)
            if "terminated" in states.get("worker", {}) and "running" in states.get(PROXY, {}):
                return pod
        return {}


def states_of(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """States of a Pod's containers by name, native sidecars included."""
    status = pod["status"]
    every = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    return {each["name"]: each.get("state", {}) for each in every}


@pytest.fixture(scope="module")
def day(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The day is over: both objects are Complete."""
    whole, folder = cluster_with_operator, tmp_path_factory.mktemp("first-day")
    target, plane = whole.target, whole.control_plane
    images.move_to_node(images.BASE, whole.containerd)
    authority, certificate, key = certificates(folder)
    shared = Path(f"/var/tmp/scenewright-{NAMESPACE}")
    policies = [*injecting(NAMESPACE, native=False), *injecting(NATIVE, native=True)]
    labels = refusing(NAMESPACE)
    with contextlib.ExitStack() as stack:
        group = ProcessGroup(folder)
        stack.callback(group.stop)
        secure = storage.start(group, plane.folder / "s3", network.NODE_ADDRESS, certificate=(certificate, key))
        meshed, native = (Trial(target, whole.storage, namespace, "scenejob") for namespace in (NAMESPACE, NATIVE))
        found = Day(meshed, native, authority, secure)
        shared.mkdir(exist_ok=True)
        stack.callback(shutil.rmtree, shared)
        stack.callback(target.kubectl, "delete", "persistentvolume", f"{NAMESPACE}-reference", "--timeout=60s")
        for namespace in (NAMESPACE, NATIVE):
            trial.begin(target, whole.storage, namespace)
            stack.callback(target.kubectl, "delete", "namespace", namespace, "--timeout=180s")
        _furnish(found, shared)
        photograph = chart.ROOT / "examples" / "inputs" / "china.jpg"
        whole.storage.client().upload_file(str(photograph), trial.PHOTOS, f"{NAMESPACE}.jpg")
        stack.callback(delete, whole, [*labels, *policies])
        apply(whole, policies)
        for namespace in (NAMESPACE, NATIVE):
            asked = partial(admitted, whole, namespace)
            eventually(lambda asked=asked: PROXY in asked(), 30, asked)
        apply(whole, labels)
        eventually(lambda: REFUSAL in admitted(whole, NAMESPACE), 30, lambda: "the policy has no effect")
        _live(whole, found, labels, stack)
        yield found


def _furnish(day: Day, shared: Path) -> None:
    """What the template names, and a Secret with the address of the TLS storage."""
    (shared / "lens.txt").write_text("35 mm")
    trial_of = day.meshed
    folder_claim(trial_of.target, NAMESPACE, "reference", shared)
    trial_of.kubectl("create", "configmap", "lab-ca", f"--from-file=ca.crt={day.authority}")
    trial_of.kubectl("create", "configmap", "lab-environment", "--from-literal=LAB_SCANNER=west")
    keys = [f"--from-literal={name}={value}" for name, value in day.secure.environment().items()]
    trial_of.kubectl("create", "secret", "generic", SECRET, *keys)


def _live(whole: WholeCluster, day: Day, labels: list[dict[str, Any]], stack: contextlib.ExitStack) -> None:
    """The course of the day; what must be undone after it goes onto the stack."""
    explain = day.meshed.described
    day.meshed.apply(job(NAME, TEMPLATE))
    day.native.apply(job("native"))

    status = eventually(lambda: day.waits_for("PodsRefused"), 120, explain)
    day.refused = (status, len(day.meshed.pods(NAME)))
    delete(whole, labels)
    day.worker = eventually(day.look_into_worker, 180, explain, pause=0.05)

    status = eventually(lambda: day.waits_for("SidecarRuns"), 240, explain)
    day.held = (status, day.held_pod())
    # Without an address to post to, native sidecars end; those of before are ended by a person.
    day.native.wait("native")
    stack.enter_context(upgraded_chart(whole.target, "--set", f"stages.sidecarQuitUrls={{{QUIT_URL}}}"))
    pod = day.held_pod()
    assert pod, explain()
    day.meshed.kubectl("exec", pod["metadata"]["name"], "--container", PROXY, "--", "python3", "-c", QUIT_PROGRAM)
    day.meshed.wait(NAME)


def test_pods_that_a_policy_refuses_are_waited_for(day: Day) -> None:
    status, pods = day.refused
    (waiting,) = [each for each in status["conditions"] if (each["type"], each["status"]) == ("Waiting", "True")]
    assert waiting["reason"] == "PodsRefused" and REFUSAL in waiting["message"], waiting
    assert pods == 0


def test_the_worker_sees_the_labs_volume_certificates_and_variables(day: Day) -> None:
    variables, files = day.worker
    assert (variables["LAB_SITE"], variables["LAB_SCANNER"]) == ("basement", "west")
    bundle = variables["SSL_CERT_FILE"]
    assert {variables[name] for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")} == {bundle}
    assert files == {"/reference/lens.txt": "35 mm", bundle: day.authority.read_text()}
    for pod in day.meshed.pods(NAME):
        metadata = pod["metadata"]
        assert metadata["labels"]["cost-centre"] == "vision"
        assert metadata["annotations"]["lab.example.org/owner"] == "graphics"


def test_the_storage_of_the_day_answers_only_who_trusts_the_labs_authority(day: Day) -> None:
    with pytest.raises(botocore.exceptions.SSLError):
        day.secure.client().list_buckets()


def test_a_proxy_that_outlives_its_worker_is_named(day: Day) -> None:
    status, pod = day.held
    (waiting,) = [each for each in status["conditions"] if (each["type"], each["status"]) == ("Waiting", "True")]
    assert waiting["reason"] == "SidecarRuns" and PROXY in waiting["message"], waiting
    assert "sidecarQuitUrls" in waiting["message"]
    assert pod["status"]["phase"] == "Running"
    # By place, the proxy would be taken for the worker.
    assert [each["name"] for each in pod["spec"]["containers"]] == [PROXY, "worker"]
    assert [each["name"] for each in pod["status"]["containerStatuses"]] == [PROXY, "worker"]
    assert states_of(pod)["worker"]["terminated"]["exitCode"] == 0


def test_beside_proxies_each_stage_has_one_pod_and_the_object_completes(day: Day) -> None:
    status = day.meshed.status(NAME)
    assert (status["phase"], status["progress"]) == ("Complete", "5/5"), status
    assert set(day.meshed.steps(NAME).values()) == {1} and set(STAGES) <= set(day.meshed.steps(NAME))
    for pod in day.meshed.pods(NAME):
        assert [each["name"] for each in pod["spec"]["containers"]] == [PROXY, "worker"]
        assert pod["status"]["phase"] == "Succeeded"
        assert [each["terminated"]["exitCode"] for each in states_of(pod).values()] == [0, 0]
    assert b"<html" in day.meshed.stored(NAME)["report.html"][:1000]


def test_native_sidecars_need_no_address(day: Day) -> None:
    status = day.native.status("native")
    assert (status["phase"], status["progress"]) == ("Complete", "5/5"), status
    assert set(day.native.steps("native").values()) == {1}
    for pod in day.native.pods("native"):
        assert [each["name"] for each in pod["spec"]["initContainers"]] == [PROXY]
        assert pod["status"]["phase"] == "Succeeded"
