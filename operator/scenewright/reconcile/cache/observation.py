"""What the planner sees of the cluster: projections of objects, Jobs and Pods that keep only what decides.

Everything is immutable and built from raw API objects by :mod:`scenewright.reconcile.cache.projection`. Informers keep
these and drop the rest, so that thousands of Pods fit into little memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from scenewright.api.names import RETRY_ANNOTATION
from scenewright.api.status import ENDS
from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.lab import in_status
from scenewright.planning.plan import Plan
from scenewright.planning.problems import Problem
from scenewright.telemetry.progress.store import StepProgress
from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.reports import AWAITING, Report

_LONGEST_TOKEN = 63


@dataclass(frozen=True)
class ObservedObject:
    """A SceneJob, DatasetJob or TuningRun.

    Attributes:
        spec, status: raw, as the API server has them; status is what this operator wrote last.
        annotations, labels: of the object; never copied to children.
        resource_version: precondition of the next status write.
        deleting: a deletion timestamp is set (children go by owner references).
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ObjectKey:
        """What queues and indices know the object by."""
        return ObjectKey(self.kind, self.namespace, self.name)

    @property
    def version(self) -> int:
        """The resource version as a number."""
        return int(self.resource_version)

    @property
    def phase(self) -> str:
        """Of the status; empty before the first one."""
        return str(self.status.get("phase", ""))

    @property
    def suspended(self) -> bool:
        """Whether the spec says so."""
        return bool(self.spec.get("suspend", False))

    @property
    def waiting(self) -> str:
        """Reason of the condition Waiting while that is true, else empty."""
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == "Waiting" and condition.get("status") == "True":
                return str(condition.get("reason", ""))
        return ""

    @property
    def publication(self) -> str:
        """Hash of what it has published."""
        return str((self.status.get("publication") or {}).get("hash", ""))

    @property
    def is_current(self) -> bool:
        """Whether the status is about this generation."""
        return bool(self.status.get("observedGeneration") == self.generation)

    @property
    def intent(self) -> tuple[int, bool, Mapping[str, str]]:
        """What asks for other work when it changes."""
        return self.generation, self.deleting, self.annotations

    @property
    def retry_token(self) -> str:
        """The retry token in effect: that of the spec and that of the annotation together.

        One that was there before starts nothing: Git may take the annotation or the field back at any time. The plan
        has to be made with this token.
        """
        execution = self.spec.get("execution") or {}
        parts = (str(execution.get("retryToken") or ""), self.annotations.get(RETRY_ANNOTATION, ""))
        token = "+".join(part for part in parts if part)
        if len(token) > _LONGEST_TOKEN:
            token = short_hash(token)
        seen = [str(each) for each in self.status.get("retryTokens") or []]
        return seen[-1] if seen and (not token or token in seen) else token

    @property
    def asks_again(self) -> bool:
        """Whether a retry token that was not seen before asks for the same work again, which changes no generation."""
        seen = [str(each) for each in self.status.get("retryTokens") or [""]]
        return bool(self.recorded_work) and self.retry_token != seen[-1]

    @property
    def recorded_work(self) -> str:
        """Work hash in the status; empty before the first run."""
        return str((self.status.get("effective") or {}).get("workHash") or "")

    @property
    def begun_work(self) -> str:
        """Work hash under which this generation began; empty if it has not begun or a retry asks for it again."""
        return self.recorded_work if self.is_current and not self.asks_again else ""

    @property
    def recorded_defaults(self) -> Mapping[str, Any] | None:
        """The lab's defaults of the work that is under way or has ended; None before the first run."""
        return in_status(self.status) if self.status.get("starts") and self.recorded_work else None

    @property
    def ended(self) -> bool:
        """Whether it has reached its end and nothing has asked for more since."""
        return self.phase in ENDS and self.is_current and not self.asks_again

    @property
    def rests(self) -> bool:
        """Whether nothing of it runs or will, until somebody asks: it is suspended, or waits for a person's choice."""
        if self.suspended:
            return self.phase == "Suspended"
        return self.waiting == AWAITING and self.is_current and not self.asks_again


@dataclass(frozen=True, order=True)
class ObjectKey:
    """Names an object across re-creations; the uid tells those apart."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Owned:
    """What knows its owner; the uids tell namesakes apart."""

    namespace: str
    name: str
    uid: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class ObservedJob(Owned):
    """A Job of ours.

    Attributes:
        owner_uid, owner_kind, owner_name: of the object that owns it.
        step: ``models``, ``index``, a stage's name or ``publish`` (label).
        run: id of the run that it belongs to (label).
        work_hash: of the object's work at its creation (label).
        template: hash of what its Pods were made from (annotation).
        output: the place that its Pods write to (annotation), empty when it only counts.
        hosts: folders in it that are kept for other objects (annotation).
        gpus: GPUs that each of its Pods holds, claims included (annotation).
        queue: the queue that admits it, whoever put it there (label).
        suspended: ``spec.suspend``, which only a queue controller sets after creation.
        ended: its terminal condition; ``""`` while it runs. ``FailureTarget`` and the like are not ends.
        reason, message: of the terminal condition.
        failed_indexes: number of indexes that were given up.
    """

    step: str
    run: str
    work_hash: str
    created_at: datetime
    owner_kind: str = ""
    owner_name: str = ""
    template: str = ""
    output: str = ""
    hosts: tuple[str, ...] = ()
    gpus: int = 0
    queue: str = ""
    completions: int = 1
    parallelism: int = 1
    suspended: bool = False
    deleting: bool = False
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
        job, owner_uid: name and uid of its Job.  index: completion index, the shard.
        phase: as Kubernetes has it.
        waiting_reason: of the container (``ImagePullBackOff``, ``CreateContainerConfigError``, ...), else of the Pod.
        unschedulable: message of the PodScheduled condition while that is False, else ``""``.
        exit_code: of the ended container, None while there is none (a Pod that the kubelet rejected has none).
        scheduled_at: when it got its node (PodScheduled became True), None while it has none.
        started_at, finished_at: of the container, None while it waits; a Pod that the kubelet rejected has neither.
        report: parsed termination message, None when there is none or it does not parse.
        deleted_at: deletion timestamp, when it began to terminate plus its grace period.
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
    report: Report | None = None


@dataclass(frozen=True)
class Refusal:
    """The spec cannot be planned: every problem with path, value and remedy."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Inspection:
    """A question that costs an API call and is asked only when the planner needs the answer.

    ``what`` is ``failed-creates`` (FailedCreate Events of the Job `name`), ``node`` (is the node `name` Ready),
    ``capacity`` (could a node, if it were empty, run a Pod of the Job), ``workload`` (Kueue's Workload of the
    Job), ``cache-claim`` (access mode of the PersistentVolumeClaim `name`) or ``pods`` (those of the Job `name`; the
    next observation has them).
    """

    what: Literal["failed-creates", "node", "capacity", "workload", "cache-claim", "pods"]
    name: str


@dataclass(frozen=True)
class Answer:
    """What an inspection found.

    Attributes:
        holds: None if it is unknown for lack of rights.
        message: the words for people.
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
    """Where an object stands that this one needs for one of its named inputs.

    Attributes:
        key: of the other object.
        state: ``Unpublished`` has ended without a hash of its publication, as earlier versions did; ``NotOffered``
            is complete and offers no file of the wanted name.
        input: name of the input.
        detail: further words for people.
        published: what the input is now; None unless complete.
    """

    key: ObjectKey
    state: DependencyState
    input: str = ""
    detail: str = ""
    published: ResolvedInput | None = None


@dataclass(frozen=True)
class Observed:
    """All that one planning step looks at.

    Attributes:
        work: the plan of the spec as it is now (with the retry annotation in its retry token), or why there is none.
        jobs: every Job that this object owns, of any run.
        pods: of these Jobs.
        progress: by step.
        output_holder: the older object that writes to the same or a nested output and has not ended, None for none.
        dependencies: the objects that the plan refers to.
        answers: of earlier inspections.
    """

    object: ObservedObject
    work: Plan | Refusal
    jobs: tuple[ObservedJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()
    progress: Mapping[str, StepProgress] = field(default_factory=dict)
    output_holder: ObjectKey | None = None
    dependencies: tuple[Dependency, ...] = ()
    answers: Mapping[Inspection, Answer] = field(default_factory=dict)
