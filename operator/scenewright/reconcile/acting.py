"""Carries out actions. Each is idempotent, addresses the one object of its uid, and is refused when we do not lead."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scenewright.execution.jobs import PodSettings, job_manifest, job_name
from scenewright.execution.jobs.pod import UnknownImageError
from scenewright.planning.plan import Plan
from scenewright.reconcile.actions import (
    Action,
    CreateJob,
    DeleteJob,
    DeleteObject,
    EmitEvent,
    Inspect,
    ReleasePod,
    SetParallelism,
)
from scenewright.reconcile.cluster.client import STRATEGIC_PATCH, ApiError, Client
from scenewright.reconcile.cluster.malformed import read
from scenewright.reconcile.cluster.resources import JOBS, OBJECTS, PODS
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.ending import EndingNamespaces, namespace_ends
from scenewright.reconcile.events import Events
from scenewright.reconcile.inspecting import Inspector
from scenewright.reconcile.job_deletion import delete_job
from scenewright.reconcile.lease import Leadership
from scenewright.reconcile.observation import Observed, ObservedJob, ObservedObject
from scenewright.reconcile.progressing import Progress
from scenewright.reconcile.projection import CachedPod, observed_job
from scenewright.reconcile.rates import CreateRate
from scenewright.telemetry.metrics import RELEASED

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The API server will not have the Job: quota, a policy, a manifest that it does not take."""


class NameTakenError(Exception):
    """A Job of the wanted name exists and belongs to something else."""


@dataclass(frozen=True)
class Surroundings:
    """What actions are carried out with."""

    client: Client
    leadership: Leadership
    jobs: Store[ObservedJob]
    pods: Store[CachedPod]
    inspector: Inspector
    progress: Progress
    events: Events
    ending: EndingNamespaces
    rate: CreateRate
    pod_settings: PodSettings


class Actor:
    """Carries out a decision's actions in their order."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._with = surroundings
        self._handlers: dict[type, Callable[[Observed, Any], Any]] = {
            CreateJob: self._create_job,
            DeleteJob: self._delete_job,
            SetParallelism: self._set_parallelism,
            ReleasePod: self._release_pod,
            DeleteObject: self._delete_object,
            Inspect: self._inspect,
            EmitEvent: self._emit,
        }

    async def act(self, observed: Observed, actions: tuple[Action, ...]) -> bool:
        """Carries them out; whether one of them has answered a question, so that planning should go on at once.

        Raises:
            ApiError, NameTakenError, RefusedError: at the first action that failed; the rest waits for the next
                planning.
            NotLeading: we must not act.
        """
        answered = False
        for action in actions:
            self._with.leadership.check()
            answered |= bool(await self._handlers[type(action)](observed, action))
        return answered

    async def _create_job(self, observed: Observed, action: CreateJob) -> bool:
        owner, plan = observed.object, observed.work
        if not isinstance(plan, Plan):
            raise TypeError("a Job needs a plan")
        manifest = self._manifest(plan.with_resolved(action.resolved), owner, action)
        await self._with.rate.take()
        self._with.leadership.check()
        name = manifest["metadata"]["name"]
        try:
            raw = await self._with.client.create(JOBS, owner.namespace, manifest)
        except ApiError as error:
            if error.passing:
                self._with.rate.failed(error.retry_after)
            if error.status == 409:
                await self._adopt(owner, plan, name)
                return False
            if namespace_ends(error):
                await self._with.ending.noticed(owner.namespace)
            raise self._refused(owner, name, error) from error
        self._with.rate.succeeded()
        self._with.progress.forget_step(owner.uid, action.step)
        self._keep_job(raw)
        return False

    def _manifest(self, plan: Plan, owner: ObservedObject, action: CreateJob) -> dict[str, Any]:
        try:
            return job_manifest(plan, owner, action, self._with.pod_settings)
        except UnknownImageError as error:
            # Only a change of the operator's own configuration helps; until then the object says so.
            name = job_name(owner.kind, owner.name, owner.uid, plan.work_hash, action.step)
            self._with.inspector.note_refused(owner.uid, name, str(error))
            raise RefusedError(str(error)) from error

    def _refused(self, owner: ObservedObject, name: str, error: ApiError) -> Exception:
        """A refusal by quota or policy is an answer for the planner, too."""
        if error.passing or namespace_ends(error) or error.status == 401:
            return error
        self._with.inspector.note_refused(owner.uid, name, error.message, invalid=error.status == 422)
        return RefusedError(error.message)

    async def _adopt(self, owner: ObservedObject, plan: Plan, name: str) -> None:
        """The name is taken: by the very Job that we want, which is as good, or by another."""
        raw = await self._with.client.get(JOBS, owner.namespace, name)
        found = read(observed_job, raw, JOBS.plural)
        if found is None or (found.owner_uid, found.work_hash) != (owner.uid, plan.work_hash):
            raise NameTakenError(
                f"Job {owner.namespace}/{name} exists and belongs to something else; delete or rename it"
            )
        self._keep_job(raw)
        if found.deleting:
            raise ApiError(409, "AlreadyExists", f"Job {owner.namespace}/{name} is still being deleted")

    async def _delete_job(self, observed: Observed, action: DeleteJob) -> bool:
        namespace = observed.object.namespace
        logger.info("%s: deleting Job %s: %s", observed.object.key, action.name, action.why)
        await delete_job(self._with.client, self._with.jobs, namespace, action.name, action.uid, "Foreground")
        return False

    async def _set_parallelism(self, observed: Observed, action: SetParallelism) -> bool:
        body = {"metadata": {"uid": action.uid}, "spec": {"parallelism": action.parallelism}}
        self._keep_job(await self._with.client.patch(JOBS, observed.object.namespace, action.name, body))
        return False

    async def _release_pod(self, observed: Observed, action: ReleasePod) -> bool:
        logger.warning("%s: releasing Pod %s, whose node is lost", observed.object.key, action.name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "NodeLost",
            "message": "The Pod's node is not ready or gone, and the Pod did not end in its grace period.",
            "lastTransitionTime": now,
        }
        body = {"metadata": {"uid": action.uid}, "status": {"phase": "Failed", "conditions": [condition]}}
        try:
            await self._with.client.patch(PODS, observed.object.namespace, action.name, body, "status", STRATEGIC_PATCH)
            RELEASED.inc()
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        return False

    async def _delete_object(self, observed: Observed, action: DeleteObject) -> bool:
        value = observed.object
        try:
            await self._with.client.delete(OBJECTS[value.kind], value.namespace, value.name, action.uid, "Background")
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        return False

    async def _inspect(self, observed: Observed, action: Inspect) -> bool:
        return await self._with.inspector.ask(observed, action.inspection)

    async def _emit(self, observed: Observed, action: EmitEvent) -> bool:
        self._with.events.post(observed.object, action)
        return False

    def _keep_job(self, raw: dict[str, Any]) -> None:
        job = read(observed_job, raw, JOBS.plural)
        if job is not None:
            self._with.jobs.put(job, int(raw["metadata"]["resourceVersion"]))
