"""Questions that cost an API call, asked when the planner needs them; answers are kept for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scenewright.execution.jobs import labels as names
from scenewright.reconcile.cluster.client import PAGE, ApiError, Client
from scenewright.reconcile.cluster.resources import CLAIMS, JOBS, NODES, PODS, Resource
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.failed_creates import FailedCreates
from scenewright.reconcile.observation import Answer, Inspection, Observed
from scenewright.reconcile.projection import JOB_LABEL, CachedPod, observed_pod

logger = logging.getLogger(__name__)

LIFETIME = timedelta(seconds=30)
_FORGOTTEN = timedelta(minutes=10)
_KUEUE = "kueue.x-k8s.io"
_UNWATCHED = "cannot be told: {error}"
_NEVER = (403, 404)
"""No right, or no such kind: every other error may pass, and is no answer."""


class Inspector:
    """Asks and remembers, for each object by its uid."""

    def __init__(
        self,
        client: Client,
        pods: Store[CachedPod],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._pods = pods
        self._now = now
        self._answers: dict[str, dict[Inspection, Answer]] = {}
        self._workload_kind: Resource | None = None
        self._failed_creates = FailedCreates(client, now)
        self._questions: dict[str, Callable[[Observed, str], Any]] = {
            "node": self._node,
            "capacity": self._capacity,
            "workload": self._workload,
            "cache-claim": self._cache_claim,
            "pods": self._pods_of,
        }

    def answers(self, uid: str) -> Mapping[Inspection, Answer]:
        """What is known for an object and not too old to be used at all; the planner asks again for what it needs."""
        known = self._answers.get(uid, {})
        return {question: answer for question, answer in known.items() if self._now() - answer.at < _FORGOTTEN}

    def forget(self, uid: str) -> None:
        """The object is gone or has ended."""
        self._answers.pop(uid, None)

    def note_refused(self, uid: str, job: str, message: str) -> None:
        """The API server refused to create this very Job (quota, policy): an answer to ``failed-creates``."""
        self._answers.setdefault(uid, {})[Inspection("failed-creates", job)] = Answer(True, message, self._now())

    async def ask(self, observed: Observed, inspection: Inspection) -> bool:
        """Asks unless a young answer is there or others are being answered; whether there is a new answer."""
        uid = observed.object.uid
        known = self._answers.get(uid, {}).get(inspection)
        if known is not None and self._now() - known.at < LIFETIME:
            return False
        answer = await self._answer(observed, inspection)
        if answer is None:
            return False
        self._answers.setdefault(uid, {})[inspection] = answer
        return True

    async def _answer(self, observed: Observed, inspection: Inspection) -> Answer | None:
        try:
            if inspection.what == "failed-creates":
                return await self._failed_creates.of(observed.object.namespace, _uid_of(observed, inspection.name))
            holds, message = await self._questions[inspection.what](observed, inspection.name)
        except ApiError as error:
            if error.status not in _NEVER:
                raise
            # Where we may not look (namespaced rights), the honest answer is that it does not hold.
            holds, message = False, _UNWATCHED.format(error=error)
        return Answer(holds, message, self._now())

    async def _node(self, observed: Observed, name: str) -> tuple[bool, str]:
        """Holds while the node is Ready."""
        try:
            node = await self._client.get(NODES, "", name)
        except ApiError as error:
            if error.status != 404:
                raise
            return False, f"node {name} is gone"
        ready = _condition(node, "Ready")
        return ready.get("status") == "True", str(ready.get("message", ""))

    async def _capacity(self, observed: Observed, job: str) -> tuple[bool, str]:
        """Holds when a node that matches the Job's selector has its extended resources at all."""
        raw = await self._client.get(JOBS, observed.object.namespace, job)
        spec = raw["spec"]["template"]["spec"]
        wanted = extended_resources(spec)
        selector = ",".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
        parameters = {"labelSelector": selector} if selector else {}
        async for page in self._client.pages(NODES, limit=PAGE, **parameters):
            if any(_has(node, wanted) for node in page.get("items") or ()):
                return True, ""
        words = " and ".join(f"{name}: {amount}" for name, amount in wanted.items()) or "this Pod"
        return False, f"no node{f' with {selector}' if selector else ''} offers {words}"

    async def _workload(self, observed: Observed, job: str) -> tuple[bool, str]:
        """Holds when the queue's Workload of the Job exists; the message is the queue's own."""
        selector = f"{_KUEUE}/job-uid={_uid_of(observed, job)}"
        try:
            page = await self._client.list(await self._workloads(), observed.object.namespace, labelSelector=selector)
        except ApiError as error:
            if error.status != 404:
                raise
            # Kueue is not there, or no longer serves this version: the next answer looks for another.
            self._workload_kind = None
            return False, ""
        items = page.get("items") or ()
        if not items:
            return False, ""
        condition = _condition(items[0], "QuotaReserved") or _condition(items[0], "Admitted")
        return True, str(condition.get("message", ""))

    async def _workloads(self) -> Resource:
        """Workloads at the version that the cluster prefers: Kueue drops old ones, and what is read is in all."""
        if self._workload_kind is None:
            group = await self._client.document(f"/apis/{_KUEUE}")
            self._workload_kind = Resource(_KUEUE, group["preferredVersion"]["version"], "workloads")
        return self._workload_kind

    async def _pods_of(self, observed: Observed, job: str) -> tuple[bool, str]:
        """Holds when the Job has Pods; they are kept as the watch would have."""
        found = False
        selector = f"{JOB_LABEL}={job},{names.MANAGED_SELECTOR}"
        async for page in self._client.pages(PODS, observed.object.namespace, labelSelector=selector):
            for raw in page.get("items") or ():
                pod = observed_pod(raw)
                if pod is not None:
                    found = True
                    self._pods.put(pod, int(raw["metadata"]["resourceVersion"]))
        return found, ""

    async def _cache_claim(self, observed: Observed, name: str) -> tuple[bool, str]:
        """Holds when several nodes may mount the claim; the message names its access modes, or that it is missing."""
        try:
            claim = await self._client.get(CLAIMS, observed.object.namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return False, f"PersistentVolumeClaim {name} does not exist"
        modes = (claim.get("status") or {}).get("accessModes") or claim["spec"].get("accessModes") or []
        shared = any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in modes)
        return shared, f"PersistentVolumeClaim {name} has {', '.join(modes) or 'no access mode'}"


def extended_resources(pod_spec: Mapping[str, Any]) -> dict[str, int]:
    """What the Pod's containers ask for beside CPU, memory and disk."""
    found: dict[str, int] = {}
    for container in pod_spec.get("containers") or ():
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if "/" in name:
                found[name] = found.get(name, 0) + int(amount)
    return found


def _has(node: Mapping[str, Any], wanted: Mapping[str, int]) -> bool:
    allocatable = node["status"].get("allocatable") or {}
    return all(int(allocatable.get(name, 0)) >= amount for name, amount in wanted.items())


def _condition(raw: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})


def _uid_of(observed: Observed, job: str) -> str:
    return next((each.uid for each in observed.jobs if each.name == job), names.MANAGED)
