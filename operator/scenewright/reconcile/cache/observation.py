"""Everything that a decision sees of the cluster: small, immutable projections of objects, Jobs and Pods.

:mod:`scenewright.reconcile.cache.projection` builds them from raw API objects. They keep only the fields that decisions
need, so that thousands of Pods fit into little memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from scenewright.api.names import RETRY_ANNOTATION
from scenewright.api.raw import RawJson
from scenewright.api.status import ENDS, Phase, Status
from scenewright.planning.documents import value_at
from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.lab import in_status
from scenewright.planning.plan import Plan
from scenewright.planning.problems import Problem
from scenewright.telemetry.progress.store import StepProgress
from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.reports import AWAITING, Report

_LONGEST_TOKEN = 63
BUDGET_REACHED = "BudgetReached"
RESTS = (AWAITING, BUDGET_REACHED)
"""Reasons of objects that wait for a person: nothing runs until somebody acts."""


@dataclass(frozen=True)
class ObservedObject:
    """A SceneJob, DatasetJob or TuningRun.

    Attributes:
        spec: raw, as the API server has it.
        status: what this operator wrote; decisions, caches, gauges and accounting read it from here.
        annotations, labels: of the object; never copied to children.
        resource_version: precondition of the next status write.
        owner_uid: of the sweep that has made it; empty for other objects.
        deleting: a deletion timestamp is set (owner references delete the children).
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool = False
    spec: RawJson = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    owner_uid: str = ""

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.kind, self.namespace, self.name)

    @property
    def version(self) -> int:
        return int(self.resource_version)

    @property
    def phase(self) -> Phase:
        return self.status.phase

    @property
    def suspended(self) -> bool:
        return bool(self.spec.get("suspend", False))

    @property
    def waiting(self) -> str:
        """Reason of the Waiting condition if it is true, else empty."""
        waits = (each for each in self.status.conditions if each.type == "Waiting" and each.status == "True")
        return next((each.reason for each in waits), "")

    @property
    def is_current(self) -> bool:
        """Whether the status is about this generation."""
        return self.status.observed_generation == self.generation

    @property
    def intent(self) -> tuple[int, bool, Mapping[str, str]]:
        """The parts of the object whose change needs a new decision."""
        return self.generation, self.deleting, self.annotations

    def text(self, *path: str) -> str:
        """The text at a path of the spec, which nobody may have validated; empty if there is none."""
        found = value_at(self.spec, *path)
        return found if isinstance(found, str) else ""

    @property
    def retry_token(self) -> str:
        """The retry token in effect, combined from the spec and the annotation. The plan must use this token.

        A token that was seen before starts nothing, since Git may revert the annotation or the field at any time.
        """
        parts = (self.text("execution", "retryToken"), self.annotations.get(RETRY_ANNOTATION, ""))
        token = "+".join(part for part in parts if part)
        if len(token) > _LONGEST_TOKEN:
            token = short_hash(token)
        seen = self.status.retry_tokens
        return seen[-1] if seen and (not token or token in seen) else token

    @property
    def retry_requested(self) -> bool:
        """Whether a new retry token asks for the same work again. An annotation does not change the generation."""
        last = self.status.retry_tokens[-1] if self.status.retry_tokens else ""
        return bool(self.recorded_work) and self.retry_token != last

    @property
    def recorded_work(self) -> str:
        """Work hash in the status; empty before the first run."""
        return self.status.effective.work_hash

    @property
    def begun_work(self) -> str:
        """Work hash with which this generation began; empty if it has not begun or a retry asks for it again."""
        return self.recorded_work if self.is_current and not self.retry_requested else ""

    @property
    def recorded_defaults(self) -> RawJson | None:
        """The lab defaults that the recorded work began with; None before the first run."""
        return in_status(self.status) if self.status.starts and self.recorded_work else None

    @property
    def ended(self) -> bool:
        """Whether it is complete or failed, with no newer generation or retry."""
        return self.phase in ENDS and self.is_current and not self.retry_requested

    @property
    def rests(self) -> bool:
        """Whether nothing runs until somebody acts: it is suspended, or waits for a choice or a budget."""
        if self.suspended:
            return self.phase == "Suspended"
        return self.waiting in RESTS and self.is_current and not self.retry_requested


@dataclass(frozen=True, order=True)
class ObjectKey:
    """Names an object. A re-created object has the same key but another uid."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Owned:
    """Something with an owner reference; uids distinguish objects of the same name."""

    namespace: str
    name: str
    uid: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class ObservedJob(Owned):
    """A Job that this operator created.

    Attributes:
        step: ``models``, ``index``, a stage's name or ``publish`` (label).
        run: id of its run (label).
        work_hash: the object's work hash when the Job was created (label).
        template: hash of its Pod template (annotation).
        queue: the queue that admits it, whoever set it (label).
        suspended: ``spec.suspend``; after creation only a queue controller sets it.
        held_by: finalizers of others that keep it although it is being deleted.
        ended: its terminal condition; ``""`` while it runs. ``FailureTarget`` and the like do not count.
        reason, message: of the terminal condition.
        failed_indexes: number of indexes that failed for good.
    """

    step: str
    run: str
    work_hash: str
    created_at: datetime
    template: str = ""
    queue: str = ""
    completions: int = 1
    parallelism: int = 1
    suspended: bool = False
    deleting: bool = False
    held_by: str = ""
    active: int = 0
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    completed_indexes: int = 0
    failed_indexes: int = 0
    ended: Literal["", "Complete", "Failed"] = ""
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ObservedPod(Owned):
    """A Pod of one of our Jobs.

    Attributes:
        job, owner_uid: name and uid of its Job.
        index: completion index, the shard.
        waiting_reason: of the worker's container (``ImagePullBackOff``, ``CreateContainerConfigError``, ...), else of
            another one that it waits for.
        unschedulable: message of the PodScheduled condition if it is False, else ``""``.
        exit_code: of the worker's terminated container, else None. A Pod that the kubelet rejected has none.
        scheduled_at: when it got its node (PodScheduled became True), else None.
        started_at, finished_at: of the container, else None. A Pod that the kubelet rejected has neither.
        report: parsed termination message; None if missing or invalid.
        held_by: finalizers of others that keep it although it is being deleted.
        still_running: names of other containers that run although the worker's has terminated.
        deleted_at: deletion timestamp: the end of its grace period.
    """

    job: str
    step: str
    index: int
    phase: str
    created_at: datetime
    node: str = ""
    reason: str = ""
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: datetime | None = None
    exit_code: int | None = None
    disrupted: bool = False
    held_by: str = ""
    still_running: str = ""
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class ObservedWorkload(Owned):
    """The Kueue Workload of an object that is admitted as a whole.

    Attributes:
        admitted: all of its quota is reserved.
        evicted: Kueue wants the quota back.
        message: why it waits or was evicted.
        flavors: names of the ResourceFlavors that it was admitted to.
        template: hash of what it asks for (annotation).
    """

    created_at: datetime
    admitted: bool = False
    evicted: bool = False
    deleting: bool = False
    message: str = ""
    flavors: tuple[str, ...] = ()
    template: str = ""


@dataclass(frozen=True)
class Refusal:
    """The spec cannot be planned: all problems, each with path, value and remedy."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Inspection:
    """A question that costs an API call, so it is asked only when a decision needs the answer.

    ``what`` is ``failed-creates`` (FailedCreate Events of the Job `name`), ``node`` (is the node `name` Ready),
    ``capacity`` (could any node run a Pod of the Job if the node were empty), ``workload`` (Kueue's Workload of the
    Job), ``flavor`` (spec of the ResourceFlavor `name` as JSON), ``cache-claim`` (access modes of the
    PersistentVolumeClaim `name`) or ``pods`` (the Pods of the Job `name`; the next observation includes them).
    """

    what: Literal["failed-creates", "node", "capacity", "workload", "flavor", "cache-claim", "pods"]
    name: str


@dataclass(frozen=True)
class Answer:
    """What an inspection found.

    Attributes:
        holds: the answer; None if unknown for lack of permission.
        message: explanation for people.
        at: when it was asked.
        invalid: the API server will never accept this Job.
    """

    holds: bool | None
    message: str
    at: datetime
    invalid: bool = False


DependencyState = Literal[
    "Missing",
    "Running",
    "Awaiting",
    "Suspended",
    "PlannedOnly",
    "Unpublished",
    "NotOffered",
    "Complete",
    "Failed",
    "Cycle",
]


@dataclass(frozen=True)
class Dependency:
    """State of another object that is one of this object's named inputs.

    Attributes:
        key: of the other object.
        state: ``Unpublished``: complete, but without a publication hash, as in earlier versions. ``NotOffered``:
            complete, but without a file of the wanted name.
        input: name of the input.
        detail: more explanation for people.
        published: the resolved input; None unless complete.
    """

    key: ObjectKey
    state: DependencyState
    input: str = ""
    detail: str = ""
    published: ResolvedInput | None = None


@dataclass(frozen=True)
class Observed:
    """Everything that one decision looks at.

    Attributes:
        work: the plan of the current spec with the effective retry token, or why there is none.
        jobs: all Jobs that this object owns, of any run.
        pods: the Pods of these Jobs.
        progress: pushed counters by step.
        workload: its Workload, if it is admitted as a whole.
        children: of a sweep, and what has the name of one of them.
        place_in_line: why it must not start yet although nothing else holds it off; empty if it may.
        output_holder: the object that this one must wait for, since it uses the same or a nested output; else None.
        dependencies: the objects that the plan refers to.
        answers: to earlier inspections.
    """

    object: ObservedObject
    work: Plan | Refusal
    jobs: tuple[ObservedJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()
    progress: Mapping[str, StepProgress] = field(default_factory=dict)
    output_holder: ObjectKey | None = None
    workload: ObservedWorkload | None = None
    place_in_line: str = ""
    children: Mapping[str, ObservedObject] = field(default_factory=dict)
    dependencies: tuple[Dependency, ...] = ()
    answers: Mapping[Inspection, Answer] = field(default_factory=dict)
