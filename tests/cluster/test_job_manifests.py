"""Every Job that the builders make, put to a real API server whose namespace enforces the restricted standard."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from job_building import ON_GPU, SETTINGS, TOGETHER, Create, Owned, container_of, job_of, stage_job_of

from cluster import Behaviour, ControlPlane
from scenewright.execution.jobs import PodSettings
from scenewright_stages.contract.reports import Report

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
STEPS = ("models", "index", "outpaint", "depth", "initialize", "coarse", "render", "publish")
EVERYTHING: dict[str, Any] = {
    **ON_GPU,
    "storage": {"secretName": "lab-s3"},
    "execution": {
        "maxParallelism": 8,
        "onSampleError": "Fail",
        "stageOverrides": {
            "outpaint": {"resources": {"requests": {"cpu": 6, "memory": "64Gi"}, "limits": {"rdma/hca": 1}}},
            "depth": {"resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}, "image": "mine:2"},
        },
    },
    "scheduling": {
        "queueName": "gpu-queue",
        "cpuQueueName": "cpu-queue",
        "nodeSelector": {"gpu": "h200"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
                }
            }
        },
        "gpuResource": "nvidia.com/mig-1g.10gb",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"kueue.x-k8s.io/priority-class": "low", "team": "vision"},
    },
}
CLAIMS: dict[str, Any] = {
    **ON_GPU,
    "storage": {"serviceAccountName": "default"},
    "scheduling": {
        "resourceClaims": [
            {"name": "gpu", "resourceClaimTemplateName": "one-h200"},
            {"name": "fabric", "resourceClaimName": "shared"},
        ]
    },
}
SPECS = {"plain": {}, "gpu": ON_GPU, "everything": EVERYTHING, "claims": CLAIMS}
STRICT = "?dryRun=All&fieldValidation=Strict"


@pytest.fixture(scope="module")
def restricted(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    name = control_plane.create_namespace(f"restricted-{uuid.uuid4().hex[:8]}", labels)
    yield name
    control_plane.api.delete(f"/api/v1/namespaces/{name}")


def pod_from(job: dict[str, Any]) -> dict[str, Any]:
    """A Pod as the Job controller would make it."""
    template = job["spec"]["template"]
    metadata = {"name": "one", "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("step", STEPS)
def test_the_api_server_takes_every_job_and_its_pods_as_they_are(
    control_plane: ControlPlane, restricted: str, step: str, spec: str
) -> None:
    job = job_of(Create(step, shards=3), owner=Owned(namespace=restricted), **SPECS[spec])
    taken = control_plane.api.create(JOBS.format(restricted) + STRICT, job)
    assert taken["spec"]["completions"] == 3 and taken["spec"]["podFailurePolicy"] == job["spec"]["podFailurePolicy"]
    pod = control_plane.api.create(PODS.format(restricted) + STRICT, pod_from(job))
    (container,) = pod["spec"]["containers"]
    given = container_of(job)["resources"]
    assert {name: container["resources"][name] for name in given} == {
        **given,
        "requests": {**given["requests"], **_requested_by_limits(given["limits"], given["requests"])},
    }


def test_a_stage_with_processes_state_a_secret_and_egress_is_taken_too(
    control_plane: ControlPlane, restricted: str
) -> None:
    job = stage_job_of("coarse", owner=Owned(namespace=restricted), shards=10_000, **TOGETHER)
    taken = control_plane.api.create(JOBS.format(restricted) + STRICT, job)
    assert taken["spec"]["backoffLimitPerIndex"] == job["spec"]["backoffLimitPerIndex"]
    pod = control_plane.api.create(PODS.format(restricted) + STRICT, pod_from(job))
    assert "activeDeadlineSeconds" not in pod["spec"]


def _requested_by_limits(limits: dict[str, str], requests: dict[str, str]) -> dict[str, str]:
    """What the API server adds: a limit without a request is requested."""
    return {name: value for name, value in limits.items() if name not in requests}


def test_the_namespace_would_refuse_less(control_plane: ControlPlane, restricted: str) -> None:
    """The baseline that must lose: the same Pod without its security context."""
    pod = pod_from(job_of(Create("index"), owner=Owned(namespace=restricted)))
    del pod["spec"]["securityContext"]
    with pytest.raises(Exception, match="violates PodSecurity"):
        control_plane.api.create(PODS.format(restricted) + STRICT, pod)


def test_the_longest_names_and_the_most_shards_are_taken(control_plane: ControlPlane, restricted: str) -> None:
    owner = Owned(name="a" * 63, namespace=restricted)
    job = job_of(Create("initialize", shards=10_000), owner=owner)
    control_plane.api.create(JOBS.format(restricted) + STRICT, job)
    longer = {**job, "metadata": {**job["metadata"], "name": f"{job['metadata']['name']}-{'x' * 40}"}}
    with pytest.raises(Exception, match="63"):
        control_plane.api.create(JOBS.format(restricted) + STRICT, longer)


def test_scratch_from_a_storage_class_meets_the_standard(control_plane: ControlPlane, restricted: str) -> None:
    settings = PodSettings(images=SETTINGS.images, scratch_storage_class="fast")
    job = job_of(Create("depth"), settings, Owned(namespace=restricted))
    control_plane.api.create(PODS.format(restricted) + STRICT, pod_from(job))


def ended(control_plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    """The Job's terminal condition."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        status = control_plane.api.get(f"{JOBS.format(namespace)}/{name}").get("status", {})
        for condition in status.get("conditions", ()):
            if condition["type"] in ("Complete", "Failed"):
                return {**condition, "status": status}
        time.sleep(0.1)
    raise AssertionError("the Job did not end within 60 s")


def test_exit_codes_mean_what_the_design_says(control_plane: ControlPlane, restricted: str) -> None:
    """10 and 20 end the Job, 21 gives one index up at once, anything else is tried again, 0 completes."""
    message = Report(step="index").to_bytes().decode()
    control_plane.simulate(
        restricted,
        {
            "config.index": Behaviour(seconds=0.1, exit_code=10, message=message),
            "strict.depth": Behaviour(seconds=0.1, exit_code=20),
            "lost.depth.1": Behaviour(seconds=0.1, exit_code=21),
            "flaky.depth": Behaviour(seconds=0.1, exit_code=143, fail_first=1),
            "default": Behaviour(seconds=0.1),
        },
    )
    jobs: dict[str, dict[str, Any]] = {}
    for name, step in (("config", "index"), ("strict", "depth"), ("lost", "depth"), ("flaky", "depth")):
        owner = Owned(name=name, namespace=restricted, uid=str(uuid.uuid4()))
        jobs[name] = job_of(Create(step, shards=1 if step == "index" else 3), owner=owner)
        # The garbage collector would take a Job whose owner does not exist.
        del jobs[name]["metadata"]["ownerReferences"]
        control_plane.api.create(JOBS.format(restricted), jobs[name])
    ends = {name: ended(control_plane, restricted, job["metadata"]["name"]) for name, job in jobs.items()}
    assert (ends["config"]["type"], ends["config"]["reason"]) == ("Failed", "PodFailurePolicy")
    assert (ends["strict"]["type"], ends["strict"]["reason"]) == ("Failed", "PodFailurePolicy")
    assert (ends["lost"]["type"], ends["lost"]["reason"]) == ("Failed", "FailedIndexes")
    assert ends["lost"]["status"]["failedIndexes"] == "1" and ends["lost"]["status"]["completedIndexes"] == "0,2"
    assert ends["lost"]["status"]["failed"] == 1, "not tried again"
    assert ends["flaky"]["type"] == "Complete" and ends["flaky"]["status"]["failed"] == 3


def test_a_job_for_a_queue_waits_until_it_is_admitted(control_plane: ControlPlane, restricted: str) -> None:
    owner = Owned(name="queued", namespace=restricted, uid=str(uuid.uuid4()))
    job = job_of(Create("index"), owner=owner, scheduling={"cpuQueueName": "cpus"})
    del job["metadata"]["ownerReferences"]
    path = f"{JOBS.format(restricted)}/{job['metadata']['name']}"
    control_plane.api.create(JOBS.format(restricted), job)
    time.sleep(1.0)
    assert control_plane.api.get(path)["status"].get("active", 0) == 0
    # As a queue controller admits: selectors injected while it is suspended, then released.
    control_plane.api.merge(path, {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}})
    control_plane.api.merge(path, {"spec": {"suspend": False}})
    assert ended(control_plane, restricted, job["metadata"]["name"])["type"] == "Complete"
