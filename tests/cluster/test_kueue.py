"""Jobs in a queue, against a controller that does what Kueue does: admission, eviction in mid-run, admission again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import SEED, Bench, bench, seconds_for, serving
from queue_controller import QueueController, Serving, installed

from cluster import Behaviour, ControlPlane
from scenewright_stages.contract.task import TaskRetries

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

NODE = "simulated-1"
FLAVOR = {"test.scenewright.io/flavor": "h200"}
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
MESSAGE = "couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor h200"


@pytest.fixture(scope="module")
def queues(serving: ControlPlane) -> Iterator[None]:
    """Kueue's kind, and one node of the flavor."""
    labels = {"metadata": {"labels": FLAVOR}}
    with installed(serving):
        serving.api.merge(f"/api/v1/nodes/{NODE}", labels)
        yield
        serving.api.merge(f"/api/v1/nodes/{NODE}", {"metadata": {"labels": dict.fromkeys(FLAVOR)}})


@pytest.fixture
def controller(bench: Bench, queues: None) -> QueueController:
    controller = QueueController(bench.cluster, bench.namespace, FLAVOR)
    controller.serve("lab")
    return controller


def status_of(bench: Bench, name: str) -> dict[str, Any]:
    status: dict[str, Any] = op.objects(bench.cluster, bench.namespace)[name].get("status", {})
    return status


def waiting(bench: Bench, name: str) -> tuple[str, str]:
    """Reason and message of the condition Waiting while it holds."""
    conditions = {each["type"]: each for each in status_of(bench, name).get("conditions", [])}
    found = conditions.get("Waiting", {})
    return (found["reason"], found["message"]) if found.get("status") == "True" else ("", "")


def pods_of(bench: Bench, job: dict[str, Any]) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{bench.namespace}/pods?labelSelector=batch.kubernetes.io/job-name"
    items: list[dict[str, Any]] = bench.cluster.api.get(f"{path}={job['metadata']['name']}")["items"]
    return items


def in_phase(pods: list[dict[str, Any]], phase: str) -> list[str]:
    """Indexes of the Pods in a phase."""
    return sorted(pod["metadata"]["labels"][INDEX_LABEL] for pod in pods if pod["status"]["phase"] == phase)


def next_job(controller: QueueController) -> dict[str, Any]:
    """The one Job in the queue, once it is there."""
    jobs: list[dict[str, Any]] = op.eventually(controller.jobs, 60, "the stage's Job is in the queue", 0.1)
    assert len(jobs) == 1
    return jobs[0]


def written_by_operator(bench: Bench) -> Counter[str]:
    """What the operator did to Jobs, by verb."""
    requests = bench.cluster.audit.requests(bench.mark, user=op.USER)
    return Counter(each.verb for each in requests if each.resource == "jobs" and each.namespace == bench.namespace)


def queued_object(name: str) -> dict[str, Any]:
    return op.chain_object(name, scheduling={"queueName": "lab"})


def test_a_job_is_admitted_evicted_in_mid_run_and_admitted_again(bench: Bench, controller: QueueController) -> None:
    bench.operator().start().wait_ready()
    bench.mark = bench.cluster.audit.mark()
    quick = Behaviour(seconds=0.3)
    bench.cluster.simulate(bench.namespace, {**op.behaviours(600.0), "paint.0": quick, "paint.1": quick})
    op.create(bench.cluster, bench.namespace, [queued_object("queued")])

    # It waits, without a Pod, and says why in the queue's own words.
    job = next_job(controller)
    assert job["spec"]["suspend"] is True and job["metadata"]["name"].endswith("-paint")
    controller.queue(job, MESSAGE)
    op.eventually(lambda: waiting(bench, "queued") == ("QueuePending", MESSAGE), 90, "it says that it waits")
    assert pods_of(bench, job) == []

    # Admitted with a flavor: it runs there, and two of four shards are done when it is evicted.
    controller.admit(controller.read(job))
    op.eventually(lambda: in_phase(pods_of(bench, job), "Succeeded") == ["0", "1"], 60, "two shards are done", 0.2)
    op.eventually(lambda: in_phase(pods_of(bench, job), "Running") == ["2", "3"], 60, "two shards run", 0.2)
    assert {pod["spec"]["nodeName"] for pod in pods_of(bench, job)} == {NODE}
    op.eventually(lambda: waiting(bench, "queued") == ("", ""), 60, "it waits no longer")
    before = status_of(bench, "queued")

    # More evictions than there are retries: none of them counts.
    for _ in range(TaskRetries().per_shard + 2):
        controller.evict(job)
        op.eventually(lambda: waiting(bench, "queued")[0] == "QueuePending", 30, "it waits again")
        assert in_phase(pods_of(bench, job), "Running") == []
        controller.admit(controller.read(job), parallelism=1)
        op.eventually(lambda: len(in_phase(pods_of(bench, job), "Running")) == 1, 60, "it runs again", 0.2)

    evicted = controller.read(job)
    assert evicted["metadata"]["uid"] == job["metadata"]["uid"]
    assert evicted["spec"]["parallelism"] == 1, "how many run at once is the queue's to say"
    running = [pod for pod in pods_of(bench, job) if pod["status"]["phase"] == "Running"]
    assert [pod["metadata"]["annotations"].get(FAILURES, "0") for pod in running] == ["0"]
    after = status_of(bench, "queued")
    assert after["run"] == before["run"]
    assert after["stages"][0]["samples"]["done"] >= before["stages"][0]["samples"]["done"]

    # The last eviction ends it; from now on Pods are quick, and every stage's Job queues for itself.
    controller.evict(job)
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3))
    with Serving(controller, quota=1, seed=SEED):
        bench.check_all_complete(bench.wait_ended(180), ["queued"])
    bench.check_each_job_once(["queued"])
    assert set(written_by_operator(bench)) <= {"create", "watch", "list"}
    finished = status_of(bench, "queued")
    assert finished["progress"] == "48/48" and finished["run"] == before["run"]
    shards = Counter(
        pod["metadata"]["labels"][INDEX_LABEL] for pod in pods_of(bench, job) if pod["status"]["phase"] == "Succeeded"
    )
    assert shards == dict.fromkeys("0123", 1), "what was done before the eviction is not done again"


@pytest.mark.soak
def test_many_objects_share_a_queue_that_takes_jobs_away(bench: Bench, controller: QueueController) -> None:
    print(f"seed {SEED}")
    bench.operator().start().wait_ready()
    bench.mark = bench.cluster.audit.mark()
    bench.cluster.simulate(bench.namespace, op.behaviours((0.5, 2.0), shards=2))
    names = [f"queued-{number}" for number in range(6)]
    op.create(bench.cluster, bench.namespace, (queued_object(name) for name in names))
    with Serving(controller, quota=3, seed=SEED) as queue:
        bench.check_all_complete(bench.wait_ended(2 * seconds_for(len(names))), names)
    bench.check_each_job_once(names)
    assert queue.evictions >= 3 and queue.most_admitted <= 3
    assert set(written_by_operator(bench)) <= {"create", "watch", "list"}


def test_a_suspended_object_leaves_the_queue_and_comes_back_at_its_end(
    bench: Bench, controller: QueueController
) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3))
    op.create(bench.cluster, bench.namespace, [queued_object("paused")])
    job = next_job(controller)
    controller.queue(job, MESSAGE)
    path = f"{op.OBJECTS.format(bench.namespace)}/paused"
    bench.cluster.api.merge(path, {"spec": {"suspend": True}})
    op.eventually(lambda: bench.phases()["paused"] == "Suspended" and not controller.jobs(), 60, "its Job is gone")
    time.sleep(1.0)
    assert bench.jobs() == []
    bench.cluster.api.merge(path, {"spec": {"suspend": False}})
    again = next_job(controller)
    assert again["metadata"]["uid"] != job["metadata"]["uid"] and again["spec"]["suspend"] is True
    with Serving(controller, quota=1, seed=SEED):
        bench.check_all_complete(bench.wait_ended(120), ["paused"])


@pytest.mark.soak
def test_an_object_whose_queue_does_not_exist_fails_and_frees_its_output(
    bench: Bench, controller: QueueController
) -> None:
    """It says so after five minutes at the earliest."""
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3))
    execution = {"samplesPerShard": 4, "startDeadlineSeconds": 10}
    stuck = op.chain_object("stuck", "s3://scenes/shared", scheduling={"queueName": "labb"}, execution=execution)
    op.create(bench.cluster, bench.namespace, [stuck])
    assert next_job(controller)["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "labb"
    op.create(bench.cluster, bench.namespace, [op.chain_object("other", "s3://scenes/shared/inside")])
    op.eventually(lambda: waiting(bench, "other")[0] == "OutputBusy", 60, "the other waits for the output")
    op.eventually(lambda: bench.phases()["stuck"] == "Failed", 600, "the queue is missed", 2.0)
    failed = next(each for each in status_of(bench, "stuck")["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "QueueControllerMissing" and "the LocalQueue labb does not exist" in failed["message"]
    op.eventually(lambda: bench.phases()["other"] == "Complete", 120, "the other has the output")
