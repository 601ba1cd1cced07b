"""Actions are idempotent: done twice, or after a lost answer, they are as good as done once."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast

import api_objects as raw
import pytest

from scenewright.execution.jobs import CreateJob, PodSettings
from scenewright.kube.client import ApiError, Client
from scenewright.planning.plan import Plan
from scenewright.reconcile.act.acting import Actor, NameTakenError, RefusedError
from scenewright.reconcile.act.deletion import EndingNamespaces
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.act.reconciler import reported_reason
from scenewright.reconcile.cache.observation import Inspection, Observed, ObservedJob
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.projection import CachedPod, observed_job, observed_object
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.decide.actions import Action, DeleteJob, DeleteObject, ReleasePod, SetParallelism
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.telemetry.progress.store import ProgressStore


class JobServer:
    """Keeps Jobs as an API server does; `lose` makes it do what was asked and lose the answer, `refuse` create none."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.lose = False
        self.refuse: ApiError | None = None

    def _note(self, verb: str, name: str) -> None:
        self.calls.append((verb, name))
        if self.refuse is not None and verb == "create":
            raise self.refuse

    def _answered(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self.lose:
            self.lose = False
            raise ApiError(0, "Unreachable", "connection reset")
        return copy.deepcopy(answer)

    async def create(self, _resource: Any, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        self._note("create", name)
        if name in self.jobs:
            raise ApiError(409, "AlreadyExists", f"{name} exists")
        job = copy.deepcopy(body)
        job["metadata"] |= {"uid": f"{name}-uid", "resourceVersion": "7", "creationTimestamp": "2026-11-21T10:00:00Z"}
        self.jobs[name] = {**job, "kind": "Job", "status": {}}
        return self._answered(self.jobs[name])

    async def get(self, _resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        self._note("get", name)
        return copy.deepcopy(self.jobs[name])

    async def delete(self, _resource: Any, _namespace: str, name: str, uid: str, propagation: str) -> dict[str, Any]:
        self._note(f"delete {propagation}", name)
        if name not in self.jobs:
            raise ApiError(404, "NotFound", name)
        if self.jobs[name]["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "uid")
        if propagation == "Background":
            del self.jobs[name]
            return self._answered({"kind": "Status", "status": "Success"})
        self.jobs[name]["metadata"] |= {"deletionTimestamp": "2026-11-21T10:05:00Z", "resourceVersion": "9"}
        return self._answered(self.jobs[name])

    async def patch(
        self, _resource: Any, _namespace: str, name: str, body: dict[str, Any], subresource: str = "", *_: str
    ) -> dict[str, Any]:
        self._note(f"patch {subresource}".strip(), name)
        self.bodies.append(body)
        return {**raw.JOB, "kind": "Job"}


class Leading:
    leads = True

    def check(self) -> None:
        if not self.leads:
            raise NotLeading


class Bench:
    """An actor on a fake API server, and the object that it acts for."""

    def __init__(self, images: dict[str, str] | None = None) -> None:
        self.server = JobServer()
        self.leading = Leading()
        self.jobs: Store[ObservedJob] = Store()
        client = cast(Client, self.server)
        self.inspector = Inspector(client, Store())
        ending = EndingNamespaces(client, cast(Leadership, self.leading), self.jobs)
        self.actor = Actor(
            client=client,
            leadership=cast(Leadership, self.leading),
            jobs=self.jobs,
            inspector=self.inspector,
            progress=ProgressStore(),
            events=Events(client, cast(Leadership, self.leading), ending, "operator-0"),
            ending=ending,
            pod_settings=PodSettings(images={"cpu": "cpu:1"} if images is None else images),
        )
        value = observed_object(raw.scene(), "SceneJob")
        work = PlanningCache().plan(value)
        assert isinstance(work, Plan)
        self.observed = Observed(object=value, work=work)

    def act(self, *actions: Action) -> bool:
        return asyncio.run(self.actor.act(self.observed, actions))

    def only_job(self) -> ObservedJob:
        (job,) = self.jobs
        return job


CREATE = CreateJob(step="index", run="1a2b3c4d-1")


def test_a_created_job_is_known_before_any_watch_tells() -> None:
    bench = Bench()
    bench.act(CREATE)
    assert (bench.only_job().step, bench.only_job().owner_uid) == ("index", "yard-uid")


def test_creating_twice_makes_one_job() -> None:
    bench = Bench()
    bench.act(CREATE)
    bench.act(CREATE)
    assert len(bench.server.jobs) == 1
    assert bench.only_job().step == "index"


def test_after_a_lost_answer_the_job_is_adopted() -> None:
    bench = Bench()
    bench.server.lose = True
    with pytest.raises(ApiError):
        bench.act(CREATE)
    bench.act(CREATE)
    assert len(bench.server.jobs) == 1
    assert bench.only_job().work_hash == cast(Plan, bench.observed.work).work_hash


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["metadata"]["ownerReferences"][0].update(uid="another"),
        lambda job: job["metadata"]["labels"].update({"scenewright.io/work-hash": "another"}),
        lambda job: job["metadata"].pop("ownerReferences"),
    ],
)
def test_a_job_of_that_name_that_is_not_ours_is_never_adopted(change: Callable[[dict[str, Any]], None]) -> None:
    bench = Bench()
    bench.act(CREATE)
    (job,) = bench.server.jobs.values()
    change(job)
    bench.jobs.drop_owner("yard-uid")
    with pytest.raises(NameTakenError):
        bench.act(CREATE)
    assert len(bench.jobs) == 0


def test_a_job_that_is_still_being_deleted_is_waited_for() -> None:
    bench = Bench()
    bench.act(CREATE)
    bench.act(DeleteJob(bench.only_job().name, bench.only_job().uid, "test"))
    with pytest.raises(ApiError, match="still being deleted"):
        bench.act(CREATE)


def test_a_deleted_job_is_known_to_be_ending_and_goes_with_its_pods_first() -> None:
    bench = Bench()
    bench.act(CREATE)
    job = bench.only_job()
    bench.act(DeleteJob(job.name, job.uid, "test"))
    assert bench.only_job().deleting
    assert bench.server.calls[-1] == ("delete Foreground", job.name)


@pytest.mark.parametrize("uid", ["another", "gone"])
def test_only_the_job_of_that_uid_is_deleted(uid: str) -> None:
    bench = Bench()
    bench.act(CREATE)
    name = bench.only_job().name
    if uid == "gone":
        bench.server.jobs.clear()
    bench.act(DeleteJob(name, uid, "test"))
    assert not any(job["metadata"].get("deletionTimestamp") for job in bench.server.jobs.values())


def test_actions_after_a_failed_one_wait() -> None:
    bench = Bench()
    bench.server.refuse = ApiError(500, "InternalError", "oh")
    with pytest.raises(ApiError):
        bench.act(CREATE, SetParallelism("x", "uid", 3))
    assert [verb for verb, _ in bench.server.calls] == ["create"]


MALFORMED = (
    (
        422,
        'Job.batch "x" is invalid: spec.template.spec.containers[0].resources: Invalid value: "-1": must be positive',
    ),
    (
        400,
        'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field "spec.template.spec.x"',
    ),
    (400, "json: cannot unmarshal string into Go struct field JobSpec.spec.completions of type int32"),
)
POLICY = "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'lab' with binding 'lab' denied request: no team"
WEBHOOK = 'admission webhook "validate.kyverno.svc" denied the request: label team is missing'
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1'


@pytest.mark.parametrize(
    ("status", "message", "invalid"),
    [
        *((status, message, True) for status, message in MALFORMED),
        *((status, message, False) for status in (400, 403, 422) for message in (POLICY, WEBHOOK)),
        (403, QUOTA, False),
    ],
)
def test_a_policy_is_waited_for_and_only_a_malformed_job_is_refused_for_good(
    status: int, message: str, invalid: bool
) -> None:
    bench = Bench()
    bench.server.refuse = ApiError(status, "Refused", message)
    with pytest.raises(RefusedError):
        bench.act(CREATE)
    ((_, answer),) = bench.inspector.answers("yard-uid").items()
    assert (answer.invalid, answer.message) == (invalid, message)


@pytest.mark.parametrize(
    "message",
    [
        'jobs.batch is forbidden: User "system:serviceaccount:s:scenewright" cannot create resource "jobs"',
        'jobs.batch "x" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource',
    ],
)
def test_a_right_that_the_operator_lacks_is_no_refusal_of_the_job_and_never_ends_its_run(message: str) -> None:
    bench = Bench()
    bench.server.refuse = ApiError(403, "Forbidden", message)
    with pytest.raises(ApiError) as caught:
        bench.act(CREATE)
    assert reported_reason(caught.value, failures=0) == "NotPermitted"
    assert not bench.inspector.answers("yard-uid"), "nothing counts towards the start deadline"


def test_an_overloaded_server_is_no_refusal_and_its_wish_for_a_pause_reaches_the_queue() -> None:
    bench = Bench()
    bench.server.refuse = ApiError(429, "TooManyRequests", "busy", retry_after=7.0)
    with pytest.raises(ApiError) as caught:
        bench.act(CREATE)
    assert caught.value.retry_after == 7.0
    assert not bench.inspector.answers("yard-uid")


def test_a_refused_job_is_an_answer_for_the_planner() -> None:
    bench = Bench()
    bench.server.refuse = ApiError(403, "Forbidden", "exceeded quota: few")
    with pytest.raises(RefusedError):
        bench.act(CREATE)
    ((inspection, answer),) = bench.inspector.answers("yard-uid").items()
    assert inspection.what == "failed-creates"
    assert (answer.holds, answer.message) == (True, "exceeded quota: few")


def test_an_image_that_is_not_configured_is_an_answer_for_the_planner() -> None:
    bench = Bench(images={})
    with pytest.raises(RefusedError):
        bench.act(CREATE)
    ((inspection, answer),) = bench.inspector.answers("yard-uid").items()
    assert inspection.name.endswith("-index")
    assert "image" in answer.message
    assert bench.server.calls == []


ENDING = ApiError(403, "Forbidden", "unable to create new content in namespace lab because it is being terminated")


def test_a_namespace_that_ends_is_no_refusal_to_explain() -> None:
    bench = Bench()
    bench.server.refuse = ENDING
    with pytest.raises(ApiError):
        bench.act(CREATE)
    assert not bench.inspector.answers("yard-uid")


@pytest.mark.parametrize("refusal", [ENDING, ApiError(403, "Forbidden", "exceeded quota: few")])
def test_only_of_a_namespace_that_ends_the_jobs_are_deleted_for_their_pods_would_hold_it(refusal: ApiError) -> None:
    bench = Bench()
    job = observed_job(raw.JOB)
    assert job is not None
    bench.server.jobs[job.name] = raw.JOB
    for namespace in ("lab", "elsewhere"):
        bench.jobs.put(replace(job, namespace=namespace), 1)
    bench.server.refuse = refusal
    with pytest.raises((ApiError, RefusedError)):
        bench.act(CREATE)
    ends = refusal is ENDING
    assert [name for verb, name in bench.server.calls if verb == "delete Background"] == [job.name] * ends
    assert sorted(job.namespace for job in bench.jobs) == (["elsewhere"] if ends else ["elsewhere", "lab"])


def test_parallelism_is_set_for_the_job_of_that_uid_only() -> None:
    bench = Bench()
    bench.act(SetParallelism("s-yard-1a2b3c4d-coarse", "job-uid", 3))
    assert bench.server.bodies == [{"metadata": {"uid": "job-uid"}, "spec": {"parallelism": 3}}]


def test_a_lost_pod_is_released_as_a_disruption() -> None:
    bench = Bench()
    bench.act(ReleasePod("pod", "pod-uid"))
    (body,) = bench.server.bodies
    assert bench.server.calls == [("patch status", "pod")]
    assert body["metadata"] == {"uid": "pod-uid"}
    assert body["status"]["phase"] == "Failed"
    assert [each["type"] for each in body["status"]["conditions"]] == ["DisruptionTarget"]


@pytest.mark.parametrize(
    "action",
    [CREATE, DeleteJob("a", "u", "w"), SetParallelism("a", "u", 1), ReleasePod("a", "u"), DeleteObject("a", "u")],
)
def test_who_does_not_lead_asks_for_nothing(action: Action) -> None:
    bench = Bench()
    bench.leading.leads = False
    with pytest.raises(NotLeading):
        bench.act(action)
    assert bench.server.calls == []


class NodeServer:
    """Answers questions about nodes and Events."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: ApiError | None = None

    async def get(self, _resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        self.asked += 1
        if self.error:
            raise self.error
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}


def test_a_question_is_asked_once_in_a_while_and_rights_that_lack_are_no_error() -> None:
    server = NodeServer()
    inspector = Inspector(cast(Client, server), Store())
    observed = Bench().observed
    question = Inspection("node", "gpu-1")
    assert asyncio.run(inspector.ask(observed, question))
    assert not asyncio.run(inspector.ask(observed, question))
    assert server.asked == 1
    assert not inspector.answers("yard-uid")[question].holds
    server.error = ApiError(403, "Forbidden", "nodes is forbidden")
    assert asyncio.run(inspector.ask(observed, Inspection("node", "gpu-2")))
    unknown = inspector.answers("yard-uid")[Inspection("node", "gpu-2")]
    assert unknown.holds is None
    assert "is unknown" in unknown.message


@pytest.mark.parametrize("status", [0, 401, 410, 429, 500])
def test_an_error_that_may_pass_is_no_answer(status: int) -> None:
    """Else a Job whose report is still there would be told to have none, and run again."""
    server = NodeServer()
    server.error = ApiError(status, "Injected", "not now")
    inspector = Inspector(cast(Client, server), Store())
    with pytest.raises(ApiError):
        asyncio.run(inspector.ask(Bench().observed, Inspection("node", "gpu-1")))
    assert not inspector.answers("yard-uid")


class PodServer:
    """Lists one finished Pod of a Job, and nothing of any other."""

    async def pages(self, _resource: Any, namespace: str, labelSelector: str) -> AsyncIterator[dict[str, Any]]:
        found = labelSelector.startswith("batch.kubernetes.io/job-name=the-job,")
        yield {"metadata": {"resourceVersion": "9"}, "items": [raw.pod(phase="Succeeded")] if found else None}


def test_pods_that_are_asked_for_are_known_from_then_on() -> None:
    pods: Store[CachedPod] = Store()
    inspector = Inspector(cast(Client, PodServer()), pods)
    observed = Bench().observed
    for job, has_pods in (("another-job", False), ("the-job", True)):
        question = Inspection("pods", job)
        assert asyncio.run(inspector.ask(observed, question))
        assert inspector.answers("yard-uid")[question].holds is has_pods
        assert [pod.phase for pod in pods] == ["Succeeded"] * has_pods


GPU_POD: dict[str, Any] = {
    "nodeSelector": {"pool": "gpus"},
    "tolerations": [{"key": "gpus-only", "operator": "Exists"}],
    "containers": [
        {
            "resources": {
                "requests": {"cpu": "7500m", "memory": "30Gi"},
                "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"},
            }
        }
    ],
}


def gpu_node(*taints: dict[str, str], **allocatable: str) -> dict[str, Any]:
    offered = {"cpu": "8", "memory": "33554432Ki", "nvidia.com/gpu": "1", "pods": "110", **allocatable}
    return {"metadata": {"name": "gpu-1"}, "spec": {"taints": list(taints)}, "status": {"allocatable": offered}}


def taint(key: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": key, "effect": effect}


class CapacityServer:
    """One node, and a pending Pod of the Job unless there is only the Job itself."""

    def __init__(self, node: dict[str, Any], has_pod: bool = True) -> None:
        self.node, self.has_pod = node, has_pod

    async def get(self, _resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
        return {"spec": {"template": {"spec": GPU_POD}}}

    async def pages(self, resource: Any, *_: Any, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        if resource.plural == "nodes":
            assert parameters["labelSelector"] == "pool=gpus"
            yield {"items": [self.node]}
        else:
            yield {"items": [{"spec": GPU_POD}] if self.has_pod else []}


@pytest.mark.parametrize(
    ("node", "holds"),
    [
        (gpu_node(), True),
        (gpu_node(**{"nvidia.com/gpu": "1k"}), True),
        (gpu_node(taint("gpus-only")), True),
        (gpu_node(taint("node.kubernetes.io/not-ready", "NoExecute"), taint("soft", "PreferNoSchedule")), True),
        (gpu_node(**{"nvidia.com/gpu": "0"}), False),
        (gpu_node(cpu="7400m"), False),
        (gpu_node(memory="29Gi"), False),
        (gpu_node(taint("another-team")), False),
        (gpu_node(taint("another-team", "NoExecute")), False),
    ],
    ids=["fits", "many", "tolerated", "for a while", "no GPU", "CPU", "memory", "taint", "evicting taint"],
)
@pytest.mark.parametrize("has_pod", [True, False])
def test_a_node_could_run_a_pod_when_it_has_all_that_is_asked_for_and_lets_it_in(
    node: dict[str, Any], holds: bool, has_pod: bool
) -> None:
    inspector = Inspector(cast(Client, CapacityServer(node, has_pod)), Store())
    question = Inspection("capacity", "the-job")
    assert asyncio.run(inspector.ask(Bench().observed, question))
    assert inspector.answers("yard-uid")[question].holds is holds


class AutoscaledServer:
    """No node has room for the one pending Pod; Events tell what an autoscaler says of it."""

    def __init__(self, *events: tuple[str, str]) -> None:
        self.events = [
            {"reason": reason, "message": message, "lastTimestamp": f"2026-11-22T10:00:{second:02}Z"}
            for second, (reason, message) in enumerate(events)
        ]

    async def pages(self, resource: Any, *_: Any, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        if resource.plural == "pods":
            resources = {"limits": {"nvidia.com/gpu": "1"}}
            yield {"items": [{"metadata": {"uid": "pod-1"}, "spec": {"containers": [{"resources": resources}]}}]}
        elif resource.plural == "nodes":
            yield {"items": []}
        else:
            assert parameters == {"fieldSelector": "involvedObject.uid=pod-1"}
            yield {"items": self.events}


SCALES_UP = ("TriggeredScaleUp", "pod triggered scale-up: [{gpu-pool 0->1 (max: 8)}]")
NOMINATED = ("Nominated", "Pod should schedule on: nodeclaim/gpu-x7")
SCALES_NOT = ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 Insufficient nvidia.com/gpu")
NOISE = ("FailedScheduling", "0/0 nodes are available")


@pytest.mark.parametrize("autoscaled", [True, False])
@pytest.mark.parametrize(
    ("events", "holds"),
    [
        ((), False),
        ((NOISE,), False),
        ((SCALES_UP,), True),
        ((NOISE, NOMINATED), True),
        ((SCALES_NOT,), False),
        ((SCALES_NOT, SCALES_UP, NOISE), True),
        ((SCALES_UP, SCALES_NOT), False),
    ],
)
def test_no_node_yet_is_not_no_node_ever(events: tuple[tuple[str, str], ...], holds: bool, autoscaled: bool) -> None:
    inspector = Inspector(cast(Client, AutoscaledServer(*events)), Store(), autoscaled=autoscaled)
    question = Inspection("capacity", "the-job")
    assert asyncio.run(inspector.ask(Bench().observed, question))
    answer = inspector.answers("yard-uid")[question]
    assert answer.holds is (holds or autoscaled)
    said = [message for reason, message in events if (reason, message) != NOISE]
    assert not said or said[-1] in answer.message


class QueueServer:
    """Serves Workloads and LocalQueues at one version, which may change."""

    def __init__(self) -> None:
        self.version = ""
        self.calls: list[str] = []
        self.queue_error: ApiError | None = None

    async def document(self, path: str) -> dict[str, Any]:
        self.calls.append(path)
        if not self.version:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return {"preferredVersion": {"version": self.version}}

    async def list(self, resource: Any, namespace: str, labelSelector: str) -> dict[str, Any]:
        self.calls.append(resource.path(namespace))
        if resource.version != self.version:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        condition = {"type": "QuotaReserved", "status": "False", "message": "position 3"}
        return {"items": [{"status": {"conditions": [condition]}}]}

    async def get(self, resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        assert (resource.version, resource.plural) == (self.version, "localqueues")
        if self.queue_error:
            raise self.queue_error
        return {"metadata": {"name": name}}


def test_workloads_are_read_at_the_version_that_the_cluster_prefers_even_when_it_changes() -> None:
    server = QueueServer()
    inspector = Inspector(cast(Client, server), Store())
    observed = Bench().observed

    def answer(job: str) -> tuple[bool, str]:
        question = Inspection("workload", job)
        asyncio.run(inspector.ask(observed, question))
        found = inspector.answers("yard-uid")[question]
        return found.holds, found.message

    assert answer("before-kueue-is-installed") == (False, "")
    server.version = "v1beta1"
    assert answer("first") == answer("second") == (True, "position 3")
    server.version = "v1beta2"
    assert answer("while-the-version-goes") == (False, "")
    assert answer("after") == (True, "position 3")
    group, namespace = "/apis/kueue.x-k8s.io", observed.object.namespace
    old, new = (f"{group}/{version}/namespaces/{namespace}/workloads" for version in ("v1beta1", "v1beta2"))
    assert server.calls == [group, group, old, old, old, group, new]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (None, (True, "position 3")),
        (ApiError(404, "NotFound", "localqueues lab not found"), (False, "the LocalQueue lab does not exist")),
        (ApiError(403, "Forbidden", "localqueues is forbidden"), (True, "position 3")),
    ],
)
def test_a_queue_that_does_not_exist_is_reported_where_it_may_be_known(
    error: ApiError | None, found: tuple[bool, str]
) -> None:
    server = QueueServer()
    server.version, server.queue_error = "v1beta2", error
    inspector = Inspector(cast(Client, server), Store())
    job = observed_job(raw.JOB)
    assert job is not None
    observed = replace(Bench().observed, jobs=(replace(job, queue="lab"),))
    question = Inspection("workload", job.name)
    asyncio.run(inspector.ask(observed, question))
    answer = inspector.answers("yard-uid")[question]
    assert (answer.holds, answer.message) == found
