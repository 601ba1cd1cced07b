"""Carries out a decision's actions, called by the reconciler.

Every action is idempotent, needs the lease, and affects only the observed uid, never a successor of the same name. When
an action fails, the rest is skipped and the next decision repeats it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from scenewright.api.raw import Json
from scenewright.execution.jobs import CreateJob, PodSettings, job_manifest, job_name
from scenewright.execution.jobs.pod import UnknownImageError
from scenewright.execution.jobs.workload import PRIORITY_CLASS, HoldQuota, workload_manifest, workload_name
from scenewright.kube.client import GONE, STRATEGIC_PATCH, ApiError, Client, ignore_statuses
from scenewright.kube.resources import JOBS, OBJECTS, PODS, PRIORITY_CLASSES, Resource
from scenewright.planning.plan import Plan
from scenewright.reconcile.act.deletion import EndingNamespaces, delete_job, namespace_ends
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.cache.observation import Observed, ObservedJob, ObservedObject, ObservedWorkload
from scenewright.reconcile.cache.projection import observed_job, observed_workload, read
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.decide.actions import (
    Action,
    ApplyChild,
    DeleteJob,
    DeleteObject,
    EmitEvent,
    Inspect,
    ReleasePod,
    ReleaseQuota,
    SetParallelism,
)
from scenewright.reconcile.lease import Leadership
from scenewright.telemetry.metrics import RELEASED
from scenewright.telemetry.progress.store import ProgressStore
from scenewright_stages.contract.task import TaskTooLargeError

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The API server refuses the Job: quota, policy or an invalid manifest."""


class NameTakenError(Exception):
    """A Job of that name exists and belongs to something else."""


@dataclass(frozen=True)
class Actor:
    """Carries out a decision's actions in their order."""

    client: Client
    leadership: Leadership
    jobs: Store[ObservedJob]
    inspector: Inspector
    progress: ProgressStore
    events: Events
    ending: EndingNamespaces
    pod_settings: PodSettings
    workloads: Store[ObservedWorkload] = field(default_factory=Store)

    async def act(self, observed: Observed, actions: tuple[Action, ...]) -> bool:
        """Carries them out. Returns whether an inspection has a new answer, so that the caller decides again at once.

        Raises:
            ApiError, NameTakenError, RefusedError: the first action that failed; the next decision repeats the rest.
            NotLeading: this process must not act.
        """
        owner, answered = observed.object, False
        for action in actions:
            self.leadership.check()
            match action:
                case Inspect():
                    answered |= await self.inspector.ask(observed, action.inspection)
                case EmitEvent():
                    self.events.post(owner, action)
                case CreateJob():
                    await self._create_job(observed, action)
                case DeleteJob():
                    logger.info("%s: deleting Job %s: %s", owner.key, action.name, action.why)
                    await delete_job(self.client, self.jobs, owner.namespace, action.name, action.uid, "Foreground")
                case HoldQuota():
                    await self._hold_quota(observed, action)
                case ReleaseQuota():
                    with ignore_statuses(*GONE):
                        await self._delete(await self.inspector.kueue("workloads"), owner, action.name, action.uid)
                case ApplyChild():
                    name = action.document["metadata"]["name"]
                    await self.client.apply(OBJECTS[owner.kind], owner.namespace, name, action.document)
                case SetParallelism():
                    body = {"metadata": {"uid": action.uid}, "spec": {"parallelism": action.parallelism}}
                    self._keep_job(await self.client.patch(JOBS, owner.namespace, action.name, body))
                case ReleasePod():
                    await self._release_pod(owner, action)
                case DeleteObject():
                    await self._delete(OBJECTS[owner.kind], owner, action.name, action.uid)
        return answered

    async def _delete(self, resource: Resource, owner: ObservedObject, name: str, uid: str) -> None:
        """Deletes something of the owner's namespace with this uid. Already deleted counts as success."""
        with ignore_statuses(*GONE):
            await self.client.delete(resource, owner.namespace, name, uid, "Background")

    async def _create_job(self, observed: Observed, action: CreateJob) -> None:
        owner, plan = observed.object, observed.work
        if not isinstance(plan, Plan):
            raise TypeError("a Job needs a plan")
        name = job_name(owner.kind, owner.name, owner.uid, plan.work_hash, action.step)
        try:
            manifest = job_manifest(action.applied_to(plan), owner, action, self.pod_settings)
        except (UnknownImageError, TaskTooLargeError) as error:
            # Only a change of the operator's configuration or of the spec helps; until then the status says so.
            is_large = isinstance(error, TaskTooLargeError)
            text = f"{error}; shorten the lists in the spec" if is_large else str(error)
            self.inspector.note_refused(owner.uid, name, text, invalid=is_large)
            raise RefusedError(str(error)) from error
        try:
            raw = await self.client.create(JOBS, owner.namespace, manifest)
        except ApiError as error:
            if error.status == 409:
                await self._adopt(owner, plan, name)
                return
            if namespace_ends(error):
                await self.ending.noticed(owner.namespace)
            elif not (error.passing or error.lacks_right or error.status == 401):
                # Quota or policy: the next decision says so.
                self.inspector.note_refused(owner.uid, name, error.message, invalid=error.malformed)
                raise RefusedError(error.message) from error
            raise
        self.progress.forget_step(owner.uid, action.step)
        self._keep_job(raw)

    async def _hold_quota(self, observed: Observed, action: HoldQuota) -> None:
        owner, plan = observed.object, observed.work
        if not isinstance(plan, Plan):
            raise TypeError("a Workload needs a plan")
        name = workload_name(plan, owner)
        try:
            workloads = await self.inspector.kueue("workloads")
            priority = await self._priority(plan)
            manifest = workload_manifest(plan, owner, action, self.pod_settings, workloads.version, priority)
            raw = await self.client.create(workloads, owner.namespace, manifest)
        except (ApiError, UnknownImageError) as error:
            if isinstance(error, ApiError) and error.status == 409:
                raw = await self.client.get(workloads, owner.namespace, name)
            else:
                said = "Kueue is not installed" if getattr(error, "status", 0) == 404 else str(error)
                self.inspector.note_refused(owner.uid, name, said)
                raise RefusedError(said) from error
        if (workload := read(observed_workload, raw, workloads.plural)) is None or workload.owner_uid != owner.uid:
            raise NameTakenError(f"Workload {owner.namespace}/{name} exists and belongs to something else; delete it")
        self.workloads.put(workload, int(raw["metadata"]["resourceVersion"]))

    async def _priority(self, plan: Plan) -> int:
        """The value of the priority class of Kueue or Kubernetes, which Kueue reads for its own Workloads only."""
        scheduling = plan.spec.scheduling
        if of_kueue := scheduling.labels.get(PRIORITY_CLASS, ""):
            found = await self.client.get(await self.inspector.kueue("workloadpriorityclasses"), "", of_kueue)
        elif scheduling.priority_class_name:
            found = await self.client.get(PRIORITY_CLASSES, "", scheduling.priority_class_name)
        else:
            return 0
        return int(found["value"])

    async def _adopt(self, owner: ObservedObject, plan: Plan, name: str) -> None:
        """Handles a taken name: the wanted Job counts as created, any other Job is an error."""
        raw = await self.client.get(JOBS, owner.namespace, name)
        found = read(observed_job, raw, JOBS.plural)
        if found is None or (found.owner_uid, found.work_hash) != (owner.uid, plan.work_hash):
            raise NameTakenError(
                f"Job {owner.namespace}/{name} exists and belongs to something else; delete or rename it"
            )
        self._keep_job(raw)
        if found.deleting:
            raise ApiError(409, "AlreadyExists", f"Job {owner.namespace}/{name} is still being deleted")

    async def _release_pod(self, owner: ObservedObject, action: ReleasePod) -> None:
        logger.warning("%s: releasing Pod %s, whose node is lost", owner.key, action.name)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "NodeLost",
            "message": "The Pod's node is not ready or gone, and the Pod did not end in its grace period.",
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        body = {"metadata": {"uid": action.uid}, "status": {"phase": "Failed", "conditions": [condition]}}
        with ignore_statuses(*GONE):
            await self.client.patch(PODS, owner.namespace, action.name, body, "status", STRATEGIC_PATCH)
            RELEASED.inc()

    def _keep_job(self, raw: Json) -> None:
        job = read(observed_job, raw, JOBS.plural)
        if job is not None:
            self.jobs.put(job, int(raw["metadata"]["resourceVersion"]))
