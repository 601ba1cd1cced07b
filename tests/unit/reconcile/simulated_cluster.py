"""A Job controller, a kubelet and a worker in a few lines: what the planner's properties are tested against.

Time goes in ticks. Jobs make Pods, Pods run and end with the codes that a seeded plan of faults gives them, deletion
is in the foreground. The operator sees it through :meth:`Cluster.observed`, and only its status and Jobs outlive it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from simulated_storage import Storage

from scenewright.api.status import read_status
from scenewright.execution.jobs import CreateJob, PodSettings, job_manifest
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import SpecError
from scenewright.planning.protocol import restarts_of
from scenewright.reconcile.cache.observation import (
    Answer,
    Dependency,
    Inspection,
    ObjectKey,
    Observed,
    ObservedJob,
    ObservedObject,
    ObservedPod,
    Refusal,
)
from scenewright.reconcile.cache.projection import observed_job
from scenewright.reconcile.decide.actions import Action, DeleteJob, DeleteObject, ReleasePod, SetParallelism
from scenewright_stages.contract.pipeline import IMAGES
from scenewright_stages.contract.reports import OUTPUT_IN_USE, Report

PODS = PodSettings(images={name: f"{name}:1" for name in IMAGES})
BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TICK = 5.0
EXIT_OK = 0

Fate = Callable[[str, int, int], int]
"""Exit code of a Pod by step, index and attempt."""


def always_well(step: str, index: int, attempt: int) -> int:
    """Nothing ever goes wrong."""
    return EXIT_OK


def spec_of(**changes: Any) -> dict[str, Any]:
    """A spec with prefix input and GPU stages, so that nothing folds; `changes` replace whole blocks."""
    stages = ("outpaint", "depth", "initialize", "coarse", "render")
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    return {
        "input": {"uri": "s3://photos/curated"},
        "output": {"uri": "s3://scenes/curated"},
        "vistadream": {"mode": "coarse"},
        "execution": {"samplesPerShard": 4, "stageOverrides": dict.fromkeys(stages, gpu)},
        **changes,
    }


@dataclass
class SimulatedJob:
    """A Job with what only its Pods know."""

    seen: ObservedJob
    create: CreateJob
    plan: Plan
    failures: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    ticks_to_go: int = 2


@dataclass
class Cluster:
    """One object, its Jobs and Pods, and the storage."""

    spec: dict[str, Any] = field(default_factory=spec_of)
    kind: str = "SceneJob"
    samples: int = 10
    fate: Fate = always_well
    random: random.Random = field(default_factory=lambda: random.Random(0))
    now: datetime = BEGIN
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    pods: dict[str, ObservedPod] = field(default_factory=dict)
    answers: dict[Inspection, Answer] = field(default_factory=dict)
    truths: dict[str, tuple[bool | None, str]] = field(default_factory=dict)
    output_holder: ObjectKey | None = None
    lock_ends: datetime | None = None
    dependencies: tuple[Dependency, ...] = ()
    deleted: bool = False
    ready: bool = True
    news_delayed: bool = False
    serial: int = 0
    plans: dict[tuple[int, str], Plan | Refusal] = field(default_factory=dict)
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage(self.samples)

    def edit(self, **changes: Any) -> None:
        """Replaces whole blocks of the spec."""
        self.spec = {**self.spec, **changes}
        self.generation += 1

    def edit_execution(self, **changes: Any) -> None:
        """Changes fields of spec.execution."""
        self.edit(execution={**self.spec["execution"], **changes})

    @property
    def object(self) -> ObservedObject:
        """As the API server has it."""
        return ObservedObject(
            kind=self.kind,
            namespace="lab",
            name="courtyard",
            uid="uid-1",
            generation=self.generation,
            resource_version=str(self.serial),
            created_at=BEGIN,
            spec=self.spec,
            status=read_status(self.status),
            annotations=self.annotations,
            labels=self.labels,
        )

    def work(self) -> Plan | Refusal:
        """The plan as the operator makes it."""
        token = self.object.retry_token
        if (self.generation, token) not in self.plans:
            self.plans[self.generation, token] = self._planned(token)
        return self.plans[self.generation, token]

    def _planned(self, token: str) -> Plan | Refusal:
        spec = {**self.spec}
        if token:
            spec["execution"] = {**spec.get("execution", {}), "retryToken": token}
        metadata = {"name": "courtyard", "namespace": "lab"}
        document = {"apiVersion": "scenewright.io/v1alpha1", "kind": self.kind, "metadata": metadata, "spec": spec}
        try:
            return make_plan(document)
        except SpecError as error:
            return Refusal(error.problems)

    def observed(self) -> Observed:
        """What the planner sees; where news are delayed, Pods that have just ended still seem to run."""
        pods = self.pods.values()
        if self.news_delayed:
            pods = [replace(pod, phase="Running", exit_code=None, report=None, finished_at=None) for pod in pods]
        return Observed(
            object=self.object,
            work=self.work(),
            jobs=tuple(job.seen for job in self.jobs.values()),
            pods=tuple(pods),
            output_holder=self.output_holder,
            dependencies=self.dependencies,
            answers=self.answers,
        )

    def carry_out(self, action: Action) -> None:
        """One action, as the API server would take it."""
        if isinstance(action, CreateJob):
            self._create(action)
        elif isinstance(action, DeleteJob):
            self.delete_job(action.name)
        elif isinstance(action, SetParallelism):
            job = self.jobs[action.name]
            job.seen = replace(job.seen, parallelism=action.parallelism)
        elif isinstance(action, ReleasePod):
            del self.pods[action.name]
        elif isinstance(action, DeleteObject):
            self.deleted = True
        elif hasattr(action, "inspection"):
            holds, message = self.truths.get(action.inspection.what, (True, ""))
            self.answers[action.inspection] = Answer(holds, message, self.now)
            # A list of the Pods tells what the watch has not told yet.
            self.news_delayed &= action.inspection.what != "pods"

    def delete_job(self, name: str) -> None:
        """In the foreground: it goes when its Pods have gone."""
        if name in self.jobs:
            self.jobs[name].seen = replace(self.jobs[name].seen, deleting=True)

    def tick(self) -> None:
        """A few seconds pass."""
        self.now += timedelta(seconds=TICK)
        for name, job in list(self.jobs.items()):
            if job.seen.deleting:
                self._remove(name, job)
            elif not job.seen.ended and not job.seen.suspended:
                self._advance(job)

    def _create(self, action: CreateJob) -> None:
        plan = self.work()
        assert isinstance(plan, Plan)
        plan = action.applied_to(plan)
        manifest = job_manifest(plan, self.object, action, PODS)
        name = manifest["metadata"]["name"]
        assert name not in self.jobs, f"{name} is there already"
        self.serial += 1
        manifest["metadata"] |= {"uid": f"job-{self.serial}", "creationTimestamp": self.now.isoformat()}
        seen = observed_job(manifest)
        assert seen is not None
        seen = replace(seen, suspended=False, started_at=self.now)
        self.jobs[name] = SimulatedJob(seen, action, plan, ticks_to_go=self.random.randint(1, 3))

    def _remove(self, name: str, job: SimulatedJob) -> None:
        job.ticks_to_go -= 1
        self.pods = {key: pod for key, pod in self.pods.items() if pod.job != name or job.ticks_to_go > 0}
        if not any(pod.job == name for pod in self.pods.values()):
            del self.jobs[name]

    def _advance(self, job: SimulatedJob) -> None:
        """Makes Pods, or ends those that run, and counts."""
        running = [pod for pod in self.pods.values() if pod.job == job.seen.name and pod.exit_code is None]
        if not running:
            running = self._pods_for(job)
        elif all(pod.started_at is None for pod in running):
            running = [self._keep(replace(pod, phase="Running", started_at=self.now)) for pod in running]
        else:
            for pod in running:
                self._end(job, pod)
            running = []
        self._count(job, running)

    def _pods_for(self, job: SimulatedJob) -> list[ObservedPod]:
        if not self.ready:
            return []
        open_indexes = [i for i in range(job.seen.completions) if i not in job.done | job.lost]
        return [self._new_pod(job, index) for index in open_indexes[: job.seen.parallelism]]

    def _new_pod(self, job: SimulatedJob, index: int) -> ObservedPod:
        self.serial += 1
        return self._keep(
            ObservedPod(
                namespace="lab",
                name=f"{job.seen.name}-{index}-{self.serial}",
                uid=f"pod-{self.serial}",
                job=job.seen.name,
                step=job.seen.step,
                owner_uid=job.seen.uid,
                index=index,
                phase="Pending",
                created_at=self.now,
                scheduled_at=self.now,
                node="node-1",
            )
        )

    def _keep(self, pod: ObservedPod) -> ObservedPod:
        self.pods[pod.name] = pod
        return pod

    def _end(self, job: SimulatedJob, pod: ObservedPod) -> None:
        """The Pod's process ends with the code that fate has for it."""
        locked = self.lock_ends is not None and self.now < self.lock_ends
        code = 10 if locked else self.fate(pod.step, pod.index, job.failures.get(pod.index, 0))
        report = self._work(job, pod.index, code)
        phase = "Succeeded" if code == EXIT_OK else "Failed"
        self._keep(replace(pod, phase=phase, exit_code=code, report=report, finished_at=self.now))
        if code == EXIT_OK:
            job.done.add(pod.index)
            return
        job.failures[pod.index] = job.failures.get(pod.index, 0) + 1
        if code == 21 or job.failures[pod.index] > restarts_of(job.plan, pod.step):
            job.lost.add(pod.index)
        if code in (10, 20):
            job.seen = replace(job.seen, ended="Failed", reason="PodFailurePolicy", ended_at=self.now)

    def _work(self, job: SimulatedJob, index: int, code: int) -> Report | None:
        """What a worker does and reports; one that fails gets half of its work done."""
        create, plan = job.create, job.plan
        if self.lock_ends is not None and self.now < self.lock_ends:
            message, until = "in use by a laptop", self.lock_ends.timestamp()
            return Report(step=create.step, run=create.run, reason=OUTPUT_IN_USE, message=message, retry_at=until)
        if code in (10, 20):
            reason = "ConfigurationError" if code == 10 else "SampleFailed"
            return Report(step=create.step, run=create.run, reason=reason, message="spec.vistadream: 1: must be 2")
        if code != EXIT_OK and create.step in ("index", "publish", "models"):
            return Report(step=create.step, run=create.run, reason="StoreError", message="storage cannot be reached")
        merged: Report | None = None
        if create.step == "index" or create.fold_index:
            merged = self.storage.index(plan, create.run, create.retry_failed, create.plan_only)
        if create.step in plan.keys:
            merged = _merged(merged, self._run_shard(job, index, code))
        if code == EXIT_OK and (create.step == "publish" or create.fold_publish):
            merged = self.storage.publish(plan, create.run)
        return merged or Report(step=create.step, run=create.run)

    def _run_shard(self, job: SimulatedJob, index: int, code: int) -> Report:
        create, plan = job.create, job.plan
        lines = self.storage.worklists[create.run, create.step][index :: create.shards]
        for sample in lines if code == EXIT_OK else lines[: len(lines) // 2]:
            bad = sample in self.bad_samples and create.step == plan.chain[0].name
            self.storage.record(plan, create.step, sample, "failed" if bad else "done")
        return self.storage.shard_report(plan, create.run, create.step, lines)

    bad_samples: frozenset[int] = frozenset()

    def _count(self, job: SimulatedJob, running: list[ObservedPod]) -> None:
        ready = sum(pod.started_at is not None for pod in running)
        job.seen = replace(
            job.seen,
            active=len(running),
            ready=ready,
            succeeded=len(job.done),
            failed=sum(job.failures.values()),
            completed_indexes=len(job.done),
            failed_indexes=len(job.lost),
        )
        if job.seen.ended or len(job.done | job.lost) < job.seen.completions:
            return
        ended = {"ended": "Failed", "reason": "FailedIndexes"} if job.lost else {"ended": "Complete"}
        job.seen = replace(job.seen, ended_at=self.now, **ended)


def _merged(first: Report | None, last: Report) -> Report:
    return last if first is None else last.model_copy(update={"stages": {**first.stages, **last.stages}})
