"""The control plane, its simulated Pods, its audit log and the fault proxy do what tests rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import operator_process as op
import pytest

from cluster import Behaviour, ControlPlane, FaultProxy, Faults
from cluster.api import ApiError
from scenewright_stages.contract.reports import Report, StageCounts

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"


def job_manifest(name: str, step: str, shards: int = 1, retries: int = 0) -> dict[str, Any]:
    container = {"name": "stage", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completions": shards,
            "parallelism": shards,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": retries,
            "template": {
                "metadata": {"labels": {"scenewright.io/step": step, "scenewright.io/object": name}},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            },
        },
    }


def create_job(cluster: ControlPlane, namespace: str, manifest: dict[str, Any]) -> str:
    cluster.api.create(JOBS.format(namespace), manifest)
    return f"{JOBS.format(namespace)}/{manifest['metadata']['name']}"


def eventually(read: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of `read`."""
    deadline = time.monotonic() + seconds
    while not (value := read()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return value


def end_of(cluster: ControlPlane, path: str, seconds: float = 30.0) -> dict[str, Any]:
    """The Job's status once it is Complete or Failed, with that as ``end``."""

    def read() -> dict[str, Any] | None:
        status: dict[str, Any] = cluster.api.get(path)["status"]
        types = {condition["type"] for condition in status.get("conditions", [])}
        return status | {"end": ends.pop()} if (ends := types & {"Complete", "Failed"}) else None

    ended: dict[str, Any] = eventually(read, seconds)
    return ended


def pods_of(cluster: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cluster.api.get(PODS.format(namespace))["items"]
    return items


def terminated(pod: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def test_a_job_ends_with_the_report_that_was_ordered(control_plane: ControlPlane, namespace: str) -> None:
    report = Report(step="index", run="1", samples=7, stages={"coarse": StageCounts(total=7, todo=7, shards=2)})
    control_plane.simulate(namespace, {"index": Behaviour(seconds=0.2, message=report.to_bytes().decode())})
    path = create_job(control_plane, namespace, job_manifest("scene", "index"))
    assert end_of(control_plane, path)["end"] == "Complete"
    (pod,) = pods_of(control_plane, namespace)
    assert Report.from_bytes(terminated(pod)["message"].encode()) == report
    assert pod["spec"]["nodeName"] in control_plane.node_names()


def test_a_report_of_the_largest_size_survives(control_plane: ControlPlane, namespace: str) -> None:
    message = json.dumps({"step": "index", "message": 'quo"te { é {{ .x }} ' * 170})
    control_plane.simulate(namespace, {"default": Behaviour(seconds=0.1, message=message)})
    end_of(control_plane, create_job(control_plane, namespace, job_manifest("scene", "index")))
    assert terminated(pods_of(control_plane, namespace)[0])["message"] == message


def test_the_most_specific_behaviour_wins_and_exit_codes_are_kept(control_plane: ControlPlane, namespace: str) -> None:
    behaviours = {
        "default": Behaviour(seconds=0.1, exit_code=9),
        "coarse": Behaviour(seconds=0.1),
        "coarse.1": Behaviour(seconds=0.1, exit_code=21),
        "other.coarse": Behaviour(seconds=0.1, exit_code=3),
        "other.coarse.1": Behaviour(seconds=0.1, exit_code=4),
    }
    control_plane.simulate(namespace, behaviours)
    ends = [
        end_of(control_plane, create_job(control_plane, namespace, job_manifest(name, "coarse", shards=2)))
        for name in ("scene", "other")
    ]
    assert [end.get("failedIndexes") for end in ends] == ["1", "0,1"]
    codes = {pod["metadata"]["labels"]["job-name"]: [] for pod in pods_of(control_plane, namespace)}
    for pod in pods_of(control_plane, namespace):
        codes[pod["metadata"]["labels"]["job-name"]].append(terminated(pod)["exitCode"])
    assert {name: sorted(values) for name, values in codes.items()} == {"scene": [0, 21], "other": [3, 4]}


@pytest.mark.slow
def test_only_the_first_attempts_of_an_index_fail(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.simulate(namespace, {"coarse": Behaviour(seconds=0.1, exit_code=1, fail_first=1)})
    path = create_job(control_plane, namespace, job_manifest("scene", "coarse", retries=1))
    assert end_of(control_plane, path)["end"] == "Complete"
    assert sorted(terminated(pod)["exitCode"] for pod in pods_of(control_plane, namespace)) == [0, 1]


def test_seeded_durations_are_the_same_again_and_spread(control_plane: ControlPlane, namespace: str) -> None:
    def durations(seed: int, name: str) -> dict[str, str]:
        control_plane.simulate(namespace, {"coarse": Behaviour(seconds=(0.1, 9.0), seed=seed)})
        path = create_job(control_plane, namespace, job_manifest(name, "coarse", shards=8))
        pods = eventually(lambda: [pod for pod in pods_of(control_plane, namespace) if ordered(pod)][7:] and ours())
        control_plane.api.delete(f"{path}?propagationPolicy=Foreground")
        eventually(lambda: not pods_of(control_plane, namespace))
        return {pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: ordered(pod) for pod in pods}

    def ours() -> list[dict[str, Any]]:
        return pods_of(control_plane, namespace)

    def ordered(pod: dict[str, Any]) -> str:
        conditions = pod["status"].get("conditions", [])
        return next((condition["message"] for condition in conditions if condition["type"] == "SimulatedEnd"), "")

    first = durations(1, "scene")
    assert durations(1, "scene") == first
    assert durations(2, "scene") != first
    milliseconds = [int(value.removesuffix("ms")) for value in first.values()]
    assert all(100 <= value <= 9000 for value in milliseconds)
    assert max(milliseconds) - min(milliseconds) > 2000


def test_a_pod_that_waits_never_starts_and_a_hanging_one_ends_when_deleted(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.simulate(
        namespace, {"a": Behaviour(waiting="ImagePullBackOff", message="no such image"), "b": Behaviour(hang=True)}
    )
    create_job(control_plane, namespace, job_manifest("waiting", "a"))
    hanging = create_job(control_plane, namespace, job_manifest("hanging", "b"))

    def states() -> dict[str, dict[str, Any]]:
        return {
            pod["metadata"]["labels"]["job-name"]: pod["status"]["containerStatuses"][0]["state"]
            for pod in pods_of(control_plane, namespace)
            if "containerStatuses" in pod["status"]
        }

    found = eventually(lambda: len(states()) == 2 and states())
    assert found["waiting"] == {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert "running" in found["hanging"]
    time.sleep(2.5)
    assert "running" in states()["hanging"]
    control_plane.api.delete(f"{hanging}?propagationPolicy=Foreground")
    eventually(lambda: set(states()) == {"waiting"})


def test_requests_are_counted_by_user_verb_and_resource(control_plane: ControlPlane, namespace: str) -> None:
    mark = control_plane.audit.mark()
    for _ in range(3):
        control_plane.api.get(PODS.format(namespace))
    create_job(control_plane, namespace, job_manifest("scene", "index"))
    counts = control_plane.audit.counts(mark, user="admin")
    assert counts == {("admin", "list", "pods"): 3, ("admin", "create", "jobs"): 1}
    (request,) = [r for r in control_plane.audit.requests(mark, user="admin") if r.verb == "create"]
    assert (request.name, request.namespace, request.code) == ("scene", namespace, 201)
    assert control_plane.audit.counts(control_plane.audit.mark(), user="admin") == {}


def test_quota_and_pod_security_refuse(control_plane: ControlPlane) -> None:
    strict = control_plane.create_namespace("strict", {"pod-security.kubernetes.io/enforce": "restricted"})
    create_job(control_plane, strict, job_manifest("scene", "index"))

    def messages() -> list[str]:
        events = control_plane.api.get(f"/api/v1/namespaces/{strict}/events")["items"]
        return [event["message"] for event in events if event["reason"] == "FailedCreate"]

    assert "violates PodSecurity" in eventually(messages)[0]
    control_plane.api.delete(f"/api/v1/namespaces/{strict}")


@pytest.mark.slow
def test_the_api_server_and_etcd_come_back_with_everything(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.simulate(namespace, {"default": Behaviour(hang=True)})
    path = create_job(control_plane, namespace, job_manifest("scene", "coarse"))
    before = control_plane.api_server.pid
    control_plane.restart_api_server()
    assert control_plane.api_server.pid != before
    control_plane.stop_etcd(2.0)
    assert control_plane.api.get(path)["metadata"]["name"] == "scene"
    control_plane.simulate(namespace, {"default": Behaviour(seconds=0.1)})
    again = create_job(control_plane, namespace, job_manifest("again", "coarse"))
    assert end_of(control_plane, again, 60)["end"] == "Complete"


@pytest.mark.slow
def test_pods_whose_end_falls_into_an_outage_end_after_it(control_plane: ControlPlane, namespace: str) -> None:
    """kwok by itself forgets a Pod whose patch fails, and the Job would wait for ever."""
    control_plane.simulate(namespace, {"default": Behaviour(seconds=(1.0, 6.0))})
    path = create_job(control_plane, namespace, job_manifest("scene", "coarse", shards=40))
    eventually(lambda: control_plane.api.get(path)["status"].get("ready", 0) > 0)
    control_plane.stop_etcd(4.0)
    end = end_of(control_plane, path, 90)
    assert (end["end"], end["succeeded"]) == ("Complete", 40)


@pytest.mark.slow
def test_pods_of_a_lost_node_stay_terminating_until_it_is_back(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.simulate(namespace, {"default": Behaviour(hang=True)})
    path = create_job(control_plane, namespace, job_manifest("scene", "coarse"))

    def running() -> list[dict[str, Any]]:
        return [pod for pod in pods_of(control_plane, namespace) if pod["status"]["phase"] == "Running"]

    (pod,) = eventually(running)
    node = pod["spec"]["nodeName"]
    control_plane.lose_node(node)
    try:
        eventually(lambda: all("deletionTimestamp" in pod["metadata"] for pod in running()), 90)
        time.sleep(3)
        assert [left["metadata"]["uid"] for left in running()] == [pod["metadata"]["uid"]]
    finally:
        control_plane.recover_node(node)
    eventually(lambda: pod["metadata"]["uid"] not in {left["metadata"]["uid"] for left in running()}, 60)
    assert control_plane.api.get(path)["status"].get("failed", 0) <= 1


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    with control_plane.fault_proxy(seed=3) as running:
        yield running


def ask(proxy: FaultProxy, cluster: ControlPlane, path: str, timeout: float = 20.0) -> Any:
    headers = {"Authorization": f"Bearer {cluster.users['admin'].token}"}
    return urllib.request.urlopen(urllib.request.Request(proxy.url + path, headers=headers), timeout=timeout)


def outcome(proxy: FaultProxy, cluster: ControlPlane, path: str) -> int:
    """HTTP status; 0 when the connection was cut."""
    try:
        return int(ask(proxy, cluster, path).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_proxy_without_faults_changes_nothing(control_plane: ControlPlane, proxy: FaultProxy) -> None:
    direct = control_plane.api.get("/api/v1/namespaces/default")
    assert json.loads(ask(proxy, control_plane, "/api/v1/namespaces/default").read()) == direct
    assert outcome(proxy, control_plane, "/api/v1/namespaces/no-such") == 404
    assert not proxy.injected


def test_the_proxy_injects_at_the_rates_that_were_ordered(control_plane: ControlPlane, proxy: FaultProxy) -> None:
    first = json.loads(ask(proxy, control_plane, "/api/v1/namespaces?limit=1").read())
    later_page = f"/api/v1/namespaces?limit=1&continue={first['metadata']['continue']}"
    proxy.faults = Faults(too_many_requests=0.1, server_error=0.1, lost_answer=0.1, gone=0.1)
    codes = [outcome(proxy, control_plane, later_page) for _ in range(300)]
    found = {code: codes.count(code) for code in set(codes)}
    assert set(found) == {200, 429, 500, 0, 410}
    assert {429: found[429], 500: found[500], 0: found[0], 410: found[410]} == {
        429: proxy.injected["too_many_requests"],
        500: proxy.injected["server_error"],
        0: proxy.injected["lost_answer"],
        410: proxy.injected["gone"],
    }
    # Binomial of 300 at 10 % (and a little less for later ones): 30 ± 5, four deviations.
    assert all(10 <= found[code] <= 50 for code in (429, 500, 0, 410)), found


def test_a_lost_answer_was_carried_out(control_plane: ControlPlane, proxy: FaultProxy, namespace: str) -> None:
    proxy.faults = Faults(lost_answer=1.0)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"}}
    headers = {"Authorization": f"Bearer {control_plane.users['admin'].token}", "Content-Type": "application/json"}
    request = urllib.request.Request(proxy.url + path, json.dumps(body).encode(), headers, method="POST")
    with pytest.raises(OSError):
        urllib.request.urlopen(request, timeout=20)
    assert control_plane.api.get(f"{path}/written")["metadata"]["name"] == "written"


def test_watches_are_dropped_and_cut_after_their_time(control_plane: ControlPlane, proxy: FaultProxy) -> None:
    path = "/api/v1/namespaces?watch=true"
    with ask(proxy, control_plane, path) as watch:
        assert json.loads(watch.readline())["type"] == "ADDED"
        assert proxy.drop_watches() == 1
        with pytest.raises(OSError):
            while watch.readline():
                pass
            raise OSError("an end without an error counts as dropped too")
    proxy.faults = Faults(watch_seconds=(0.5, 0.5), latency_seconds=(0.3, 0.3))
    started = time.monotonic()
    with ask(proxy, control_plane, path) as watch, pytest.raises(OSError):
        while watch.readline():
            pass
        raise OSError("an end without an error counts as cut too")
    assert 0.8 <= time.monotonic() - started < 10
    assert proxy.injected == {"dropped_watch": 1, "watch_seconds": 1}


def test_a_watch_gets_an_error_event_or_a_refusal_when_gone(control_plane: ControlPlane, proxy: FaultProxy) -> None:
    proxy.faults = Faults(gone=1.0)
    assert outcome(proxy, control_plane, "/api/v1/namespaces") == 200, "a list that begins asks for no version"
    seen = set()
    for _ in range(20):
        try:
            event = json.loads(ask(proxy, control_plane, "/api/v1/namespaces?watch=true").readline())
            seen.add(("event", event["type"], event["object"]["code"]))
        except urllib.error.HTTPError as error:
            seen.add(("refused", "", error.code))
    assert seen == {("event", "ERROR", 410), ("refused", "", 410)}


@pytest.mark.slow
def test_everything_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "cluster"
    command = [sys.executable, str(tool), "control-plane", "--folder", str(tmp_path / "plane")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert any("ready" in line for line in owner.stdout)
        mine = processes_that_name(tmp_path)
        owner.kill()
    assert len(mine) >= 5
    eventually(lambda: not processes_that_name(tmp_path), 10)


def processes_that_name(folder: Path) -> list[int]:
    """Ids of processes, other than this one, whose command line names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found


def test_a_server_that_asks_to_come_again_is_asked_again_and_one_that_refuses_is_not() -> None:
    answers: list[Exception | str] = [ApiError(429, "storage is (re)initializing"), "the objects"]

    def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert op.eventually(read, 5.0, "an answer", 0.0) == "the objects"
    answers.append(ApiError(403, "no right"))
    with pytest.raises(ApiError, match="no right"):
        op.eventually(read, 5.0, "an answer", 0.0)
