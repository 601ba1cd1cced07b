"""The chart on a real API server: what it grants, that it applies without Helm, how it upgrades and leaves."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_rendering import CHART, helm, promtool, render
from metric_names import declared, panels, plain, used
from operator_process import OperatorProcess
from released_plane import eventually, kubectl

from cluster import Behaviour, ControlPlane
from cluster.monitoring import Prometheus
from cluster.processes import ProcessGroup, free_ports
from scenewright_stages.contract.reports import Report, StageCounts

RIGHTS = Path(__file__).parent / "operator_rights.txt"
RELEASE = "scenewright"
SYSTEM = "scenewright-system"
LAB = "lab"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
STATUS = {"observedGeneration": 1, "phase": "Complete", "run": "abcd1234-1", "progress": "3/3"}


def scene(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": name, "namespace": LAB},
        "spec": {
            "input": {"uri": "s3://photos/in/"},
            "output": {"uri": "s3://scenes/out"},
            "storage": {"secretName": "lab-s3"},
            "vistadream": {},
        },
    }


def can(cluster: ControlPlane, verb: str, resource: str, namespace: str = LAB, name: str = "") -> bool:
    """Whether the operator may do this; `resource` may have a subresource behind a slash."""
    plain, _, subresource = resource.partition("/")
    what = [f"{plain}/{name}" if name else plain, *([f"--subresource={subresource}"] if subresource else [])]
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "auth", "can-i", verb, *what]
    done = subprocess.run([*command, "-n", namespace, f"--as={ACCOUNT}"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


@pytest.fixture(scope="module")
def namespaces(released_plane: ControlPlane) -> ControlPlane:
    """The control plane with a namespace for the operator, which enforces the restricted standard, and one for work."""
    for name in (SYSTEM, LAB):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        released_plane.create_namespace(name, labels)
    return released_plane


@pytest.fixture(scope="module")
def applied(namespaces: ControlPlane) -> Iterator[ControlPlane]:
    """Everything that `helm template | kubectl apply --server-side` puts there."""
    objects = render(release=RELEASE, namespace=SYSTEM)
    text = yaml.safe_dump_all(objects)
    kubectl(namespaces, "apply", "--server-side", "--force-conflicts", "-f", "-", text=text)
    yield namespaces
    kept = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
    kubectl(namespaces, "delete", "--wait=true", "-f", "-", text=yaml.safe_dump_all(kept))


@pytest.mark.parametrize("namespace", [SYSTEM, LAB])
def test_the_operators_rights_are_the_checked_in_list(applied: ControlPlane, namespace: str) -> None:
    listed = kubectl(applied, "auth", "can-i", "--list", f"--as={ACCOUNT}", "-n", namespace)
    rights = {" ".join(line.split()) for line in listed.splitlines()[1:]}
    expected = {line for line in RIGHTS.read_text().splitlines() if line and not line.startswith("#")}
    assert rights == {line for line in expected if namespace == SYSTEM or not line.startswith("leases")}


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("get", "pods"),
        ("create", "pods"),
        ("delete", "pods"),
        ("patch", "pods"),
        ("create", "pods/exec"),
        ("get", "pods/log"),
        ("update", "scenejobs.scenewright.io"),
        ("create", "serviceaccounts/token"),
        ("delete", "nodes"),
        ("update", "nodes"),
        ("create", "tokenreviews.authentication.k8s.io"),
        ("bind", "clusterroles.rbac.authorization.k8s.io"),
        ("delete", "leases.coordination.k8s.io"),
    ],
)
def test_the_operator_is_not_permitted(applied: ControlPlane, verb: str, resource: str) -> None:
    assert not can(applied, verb, resource, SYSTEM)
    assert not can(applied, verb, resource, LAB)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("list", "pods"),
        ("patch", "pods/status"),
        ("create", "jobs.batch"),
        ("patch", "scenejobs.scenewright.io/status"),
        ("create", "events"),
        ("get", "persistentvolumeclaims"),
    ],
)
def test_the_operator_can(applied: ControlPlane, verb: str, resource: str) -> None:
    assert can(applied, verb, resource)


def test_only_its_own_lease_is_in_reach(applied: ControlPlane) -> None:
    lease = "leases.coordination.k8s.io"
    assert can(applied, "update", lease, SYSTEM, f"{RELEASE}-operator")
    assert not can(applied, "update", lease, SYSTEM, "another")
    assert can(applied, "create", lease, SYSTEM)
    assert not can(applied, "create", lease, LAB)


def test_a_restricted_namespace_admits_the_operators_pod(applied: ControlPlane) -> None:
    def pods() -> Any:
        found = json.loads(kubectl(applied, "get", "pods", "-n", SYSTEM, "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in found if pod["metadata"]["name"].startswith(f"{RELEASE}-operator")]

    assert eventually(pods)


@pytest.mark.slow
def test_the_operator_works_with_these_rights_and_prometheus_can_answer_every_panel(
    applied: ControlPlane, tmp_path: Path
) -> None:
    """Bounds the list of rights from below: the operator meets no refusal on the way of an object to its end."""
    applied.simulate(LAB, reports())
    shown = {"kind": "SceneJob", "namespace": LAB, "name": "new"}
    with monitored(applied, tmp_path) as (operator, prometheus):
        kubectl(applied, "apply", "--server-side", "-f", "-", text=yaml.safe_dump(scene("new")))
        kubectl(applied, "wait", "-n", LAB, "scenejob/new", "--for=condition=Complete", "--timeout=120s")
        scrape = operator.scrape()
        assert operator.metric("scenewright_api_requests_total", code="201") >= 5
        assert operator.metric("scenewright_api_requests_total", code="403") == 0
        eventually(lambda: ask(prometheus, 'scenewright_jobs{phase="Complete"} == 1'))
        queries = {place: plain(text, **shown) for place, text in panels() if "label_values" not in text}
        answers = {place: ask(prometheus, query) for place, query in queries.items()}
    missing = {name: place for name, place in used().items() if name not in declared(scrape)}
    assert not missing
    filled = {place for place, found in answers.items() if found}
    for title in (
        "Operator",
        "Objects by phase",
        "Ends",
        "Reconciles",
        "API requests",
        "Queue",
        "Size of a status",
        "Memory",
    ):
        assert f"platform: {title}" in filled
    assert "job: Done" in filled
    kubectl(applied, "delete", "scenejob", "new", "-n", LAB, "--timeout=30s")


@contextlib.contextmanager
def monitored(cluster: ControlPlane, folder: Path) -> Iterator[tuple[OperatorProcess, Prometheus]]:
    """An operator that works and a Prometheus that scrapes it."""
    promtool()
    prometheus = Prometheus(folder / "prometheus", "127.0.0.1", free_ports(1)[0])
    group = ProcessGroup(folder / "processes")
    operator = OperatorProcess(cluster, folder).start()
    try:
        operator.wait_ready()
        prometheus.start(group)
        prometheus.scrape({f"127.0.0.1:{operator.port}": {"service": "operator"}})
        eventually(lambda: is_scraping(prometheus))
        yield operator, prometheus
    finally:
        operator.stop()
        group.stop()


def is_scraping(prometheus: Prometheus) -> bool:
    """Whether it has reached its target; while it starts it answers 503."""
    try:
        return bool(ask(prometheus, "up == 1"))
    except urllib.error.HTTPError:
        return False


def ask(prometheus: Prometheus, expression: str) -> list[Any]:
    """Series that Prometheus answers with."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/query?{query}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def reports() -> dict[str, Behaviour]:
    """What the simulated Pods of a VistaDream job of two samples report."""
    stages = ("outpaint", "depth", "initialize", "coarse", "render")
    index = Report(step="index", samples=2, stages={name: StageCounts(total=2, todo=2, shards=1) for name in stages})
    publish = Report(step="publish", samples=2, stages={name: StageCounts(total=2, done=2) for name in stages})
    told = {"index": index, "publish": publish}
    return {
        "default": Behaviour(seconds=0.2),
        **{step: Behaviour(seconds=0.2, message=report.to_bytes().decode()) for step, report in told.items()},
    }


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart as an older version would be: an older number, and CRDs that lack a field."""
    copy = tmp_path / "scenewright"
    shutil.copytree(CHART, copy)
    about = copy / "Chart.yaml"
    about.write_text(re.sub(r"^version: .*", "version: 0.0.9", about.read_text(), flags=re.MULTILINE))
    file = copy / "files/crds/scenejobs.scenewright.io.yaml"
    crd = yaml.safe_load(file.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["ttlSecondsAfterFinished"]
    file.write_text(yaml.safe_dump(crd))
    return copy


def run_helm(cluster: ControlPlane, *arguments: str) -> float:
    """Runs helm; the seconds that it took."""
    began = time.monotonic()
    command = [helm(), *arguments, "--namespace", SYSTEM, f"--kubeconfig={cluster.kubeconfig}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


@pytest.fixture
def empty(tmp_path: Path, released_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane of its own, without our kinds; where the shared one is skipped, so is this."""
    with ControlPlane.start(tmp_path / "control-plane") as cluster:
        cluster.create_namespace(SYSTEM)
        cluster.create_namespace(LAB)
        yield cluster


@pytest.mark.slow
def test_upgrades_reach_the_crds_and_touch_no_object_and_an_uninstall_keeps_both(
    empty: ControlPlane, previous: Path
) -> None:
    cluster = empty
    run_helm(cluster, "install", RELEASE, str(previous))
    wait_until_served(cluster)
    kubectl(cluster, "apply", "--server-side", "-f", "-", text=yaml.safe_dump(scene("old")))
    kubectl(
        cluster,
        "patch",
        "scenejob",
        "old",
        "-n",
        LAB,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": STATUS}),
    )
    before = json.loads(kubectl(cluster, "get", "scenejob", "old", "-n", LAB, "-o", "json"))
    assert "ttlSecondsAfterFinished" not in fields(cluster)

    run_helm(cluster, "upgrade", RELEASE, str(CHART))
    assert eventually(lambda: "ttlSecondsAfterFinished" in fields(cluster))
    assert json.loads(kubectl(cluster, "get", "scenejob", "old", "-n", LAB, "-o", "json")) == before

    assert run_helm(cluster, "uninstall", RELEASE, "--wait") < 60
    assert json.loads(kubectl(cluster, "get", "scenejob", "old", "-n", LAB, "-o", "json")) == before
    assert not kubectl(
        cluster, "get", "deployments,clusterroles", "-A", "-o", "name", "-l", f"app.kubernetes.io/instance={RELEASE}"
    )

    run_helm(cluster, "install", RELEASE, str(CHART))
    assert json.loads(kubectl(cluster, "get", "scenejob", "old", "-n", LAB, "-o", "json")) == before
    run_helm(cluster, "uninstall", RELEASE)
    kubectl(cluster, "delete", "scenejob", "old", "-n", LAB, "--timeout=20s")


def wait_until_served(cluster: ControlPlane) -> None:
    kubectl(cluster, "wait", "--for=condition=Established", "--timeout=30s", "crd/scenejobs.scenewright.io")
    eventually(
        lambda: (
            cluster.kubectl
            and "scenejobs" in kubectl(cluster, "api-resources", "--api-group=scenewright.io", "-o", "name")
        )
    )


def fields(cluster: ControlPlane) -> set[str]:
    crd = json.loads(kubectl(cluster, "get", "crd", "scenejobs.scenewright.io", "-o", "json"))
    return set(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
