"""Answers inspections: questions of a decision that cost an API call.

Decisions make no requests: they return an `Inspect` action, the actor asks, and the next decision has the answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from scenewright.api.raw import Json, RawJson
from scenewright.execution.jobs import names
from scenewright.execution.jobs.resources import number_of
from scenewright.execution.jobs.workload import KUEUE
from scenewright.kube.client import ApiError, Client, ignore_statuses
from scenewright.kube.resources import CLAIMS, EVENTS, JOBS, NODES, PODS, Resource
from scenewright.reconcile.cache.observation import Answer, Inspection, Observed
from scenewright.reconcile.cache.projection import JOB_LABEL, CachedPod, condition, observed_pod, read
from scenewright.reconcile.cache.store import Store

LIFETIME = timedelta(seconds=30)
_FORGOTTEN = timedelta(minutes=10)
_UNKNOWN = "is unknown: {error}"
_NODE_IS_COMING = ("TriggeredScaleUp", "Nominated")
_NO_NODE_COMES = "NotTriggerScaleUp"
"""Reasons of the Events of cluster-autoscaler and Karpenter on a Pod."""
_NEVER = (403, 404)
"""Forbidden, or no such kind: the answer stays unknown. Other errors may pass and are raised."""


@dataclass(eq=False)
class Inspector:
    """Asks the API server and caches the answers by the object's uid.

    Attributes:
        autoscaled: nodes are added for Pods that no node has room for, so that none may exist yet.
    """

    client: Client
    pods: Store[CachedPod]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    autoscaled: bool = False

    def __post_init__(self) -> None:
        self._answers: dict[str, dict[Inspection, Answer]] = {}
        self._kueue_version = ""
        self._questions: dict[str, Callable[[Observed, str], Awaitable[tuple[bool, str]]]] = {
            "failed-creates": self._failed_creates,
            "node": self._node,
            "capacity": self._capacity,
            "workload": self._workload,
            "flavor": self._flavor,
            "cache-claim": self._cache_claim,
            "pods": self._pods_of,
        }

    def answers(self, uid: str) -> Mapping[Inspection, Answer]:
        """The answers for an object, except very old ones. A decision judges their age itself and may ask again."""
        known = self._answers.get(uid, {})
        return {question: answer for question, answer in known.items() if self.now() - answer.at < _FORGOTTEN}

    def forget(self, uid: str) -> None:
        """Forgets an object that was deleted or has ended."""
        self._answers.pop(uid, None)

    def note_refused(self, uid: str, job: str, message: str, invalid: bool = False) -> None:
        """Notes that the API server refused to create the Job, as an answer to ``failed-creates``.

        Args:
            invalid: the API server will never accept this Job.
        """
        answer = Answer(True, message, self.now(), invalid)
        self._answers.setdefault(uid, {})[Inspection("failed-creates", job)] = answer

    async def ask(self, observed: Observed, inspection: Inspection) -> bool:
        """Asks unless a recent answer is cached. Returns whether there is a new answer."""
        uid = observed.object.uid
        known = self._answers.get(uid, {}).get(inspection)
        if known is not None and self.now() - known.at < LIFETIME:
            return False
        self._answers.setdefault(uid, {})[inspection] = await self._answer(observed, inspection)
        return True

    async def _answer(self, observed: Observed, inspection: Inspection) -> Answer:
        try:
            holds, message = await self._questions[inspection.what](observed, inspection.name)
        except ApiError as error:
            if error.status not in _NEVER:
                raise
            # Without permission (namespaced RBAC) the answer is unknown, which must not lead to any action.
            holds, message = None, _UNKNOWN.format(error=error)
        return Answer(holds, message, self.now())

    async def _failed_creates(self, observed: Observed, job: str) -> tuple[bool, str]:
        """True if the Job controller could not create Pods of the Job; with the newest Event's message."""
        selector = f"involvedObject.uid={_uid_of(observed, job)},reason=FailedCreate"
        events = await self._events(observed, selector)
        return bool(events), events[-1].get("message", "") if events else ""

    async def _events(self, observed: Observed, selector: str) -> list[Json]:
        """The Events in the object's namespace that a field selector selects, the newest last."""
        pages = self.client.pages(EVENTS, observed.object.namespace, fieldSelector=selector)
        found = [event async for page in pages for event in page.get("items") or ()]
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))

    async def _node(self, observed: Observed, name: str) -> tuple[bool, str]:
        """True if the node is Ready."""
        with ignore_statuses(404):
            ready = condition((await self.client.get(NODES, "", name)).get("status") or {}, "Ready")
            return ready.get("status") == "True", str(ready.get("message", ""))
        return False, f"node {name} is gone"

    async def _capacity(self, observed: Observed, job: str) -> tuple[bool, str]:
        """True if some node could run the Job's pending Pod if the node were empty, or if one may be added for it."""
        pod = await self._pending_pod(observed, job)
        spec = pod["spec"]
        wanted = requested(spec)
        selector = ",".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
        parameters = {"labelSelector": selector} if selector else {}
        async for page in self.client.pages(NODES, **parameters):
            if any(_could_run(node, spec, wanted) for node in page.get("items") or ()):
                return True, ""
        words = " and ".join(f"{name}: {amount:g}" for name, amount in wanted.items()) or "this Pod"
        text = f"no node{f' with {selector}' if selector else ''} whose taints are tolerated offers {words}"
        reason, said = await self._autoscaler(observed, pod)
        is_coming = self.autoscaled or reason in _NODE_IS_COMING
        return is_coming, f"{text}; {f'{reason}: {said}' if reason else 'no autoscaler has said anything'}"

    async def _pending_pod(self, observed: Observed, job: str) -> RawJson:
        """An unscheduled Pod, which admission may have changed; else the Job's Pod template."""
        async for raw in self._raw_pods(observed, job):
            if not raw["spec"].get("nodeName"):
                return raw
        template = await self.client.get(JOBS, observed.object.namespace, job)
        return cast(RawJson, template["spec"]["template"])

    async def _autoscaler(self, observed: Observed, pod: RawJson) -> tuple[str, str]:
        """Reason and message of the newest Event in which an autoscaler speaks of the Pod; empty if there is none."""
        uid = (pod.get("metadata") or {}).get("uid")
        if not uid:
            return "", ""
        events = await self._events(observed, f"involvedObject.uid={uid}")
        said = [event for event in events if event.get("reason") in (*_NODE_IS_COMING, _NO_NODE_COMES)]
        return (said[-1]["reason"], said[-1].get("message", "")) if said else ("", "")

    async def _workload(self, observed: Observed, job: str) -> tuple[bool, str]:
        """True if the Job's queue exists and has created its Workload; with the Workload's message."""
        selector = f"{KUEUE}/job-uid={_uid_of(observed, job)}"
        with ignore_statuses(404):
            workloads = await self.kueue("workloads")
            page = await self.client.list(workloads, observed.object.namespace, labelSelector=selector)
            if missing := await self._missing_queue(observed, job):
                return False, f"the LocalQueue {missing} does not exist"
            found = next(iter(page.get("items") or ()), None)
            status = (found or {}).get("status") or {}
            reserved = condition(status, "QuotaReserved") or condition(status, "Admitted")
            return found is not None, str(reserved.get("message", ""))
        # Kueue is missing or no longer serves this version: look up the version again next time.
        self._kueue_version = ""
        return False, ""

    async def _missing_queue(self, observed: Observed, job: str) -> str:
        """Name of the Job's queue if it does not exist; empty if it exists or that is unknown."""
        queue = next((each.queue for each in observed.jobs if each.name == job), "")
        if not queue:
            return ""
        with ignore_statuses(403):
            with ignore_statuses(404):
                await self.client.get(await self.kueue("localqueues"), observed.object.namespace, queue)
                return ""
            return queue
        return ""

    async def _flavor(self, observed: Observed, name: str) -> tuple[bool, str]:
        """True if the ResourceFlavor exists; with its spec as JSON."""
        with ignore_statuses(404):
            found = await self.client.get(await self.kueue("resourceflavors"), "", name)
            return True, json.dumps(found.get("spec") or {})
        return False, ""

    async def kueue(self, plural: str) -> Resource:
        """A Kueue resource at the cluster's preferred version. The fields read here are the same in all versions."""
        if not self._kueue_version:
            group = await self.client.document(f"/apis/{KUEUE}")
            self._kueue_version = str(group["preferredVersion"]["version"])
        namespaced = plural in ("workloads", "localqueues")
        return Resource(KUEUE, self._kueue_version, plural, namespaced)

    async def _pods_of(self, observed: Observed, job: str) -> tuple[bool, str]:
        """True if the Job has Pods; puts them into the store, as the watch would."""
        found = False
        async for raw in self._raw_pods(observed, job):
            pod = read(observed_pod, raw, PODS.plural)
            if pod is not None:
                found = True
                self.pods.put(pod, int(raw["metadata"]["resourceVersion"]))
        return found, ""

    async def _raw_pods(self, observed: Observed, job: str) -> AsyncIterator[Json]:
        selector = f"{JOB_LABEL}={job},{names.MANAGED_SELECTOR}"
        async for page in self.client.pages(PODS, observed.object.namespace, labelSelector=selector):
            for raw in page.get("items") or ():
                yield raw

    async def _cache_claim(self, observed: Observed, name: str) -> tuple[bool, str]:
        """True if several nodes may mount the claim; the message has its access modes, or says that it is missing."""
        with ignore_statuses(404):
            claim = await self.client.get(CLAIMS, observed.object.namespace, name)
            modes = (claim.get("status") or {}).get("accessModes") or claim["spec"].get("accessModes") or []
            shared = any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in modes)
            return shared, f"PersistentVolumeClaim {name} has {', '.join(modes) or 'no access mode'}"
        return False, f"PersistentVolumeClaim {name} does not exist"


def requested(pod_spec: RawJson) -> dict[str, float]:
    """Resources that the Pod's containers request; the limit counts where there is no request."""
    found: dict[str, float] = {}
    for container in pod_spec.get("containers") or ():
        resources = container.get("resources") or {}
        for name, amount in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            found[name] = found.get(name, 0.0) + number_of(amount)
    return found


def _could_run(node: RawJson, pod_spec: RawJson, wanted: Mapping[str, float]) -> bool:
    offered = (node.get("status") or {}).get("allocatable") or {}
    taints = (node.get("spec") or {}).get("taints") or ()
    has_all = all(number_of(offered.get(name, 0)) >= amount for name, amount in wanted.items())
    return has_all and all(_tolerates(pod_spec.get("tolerations") or (), taint) for taint in taints)


def _tolerates(tolerations: Iterable[RawJson], taint: RawJson) -> bool:
    """Whether the Pod tolerates a taint. Taints for node conditions (not ready, cordoned) are ignored as temporary."""
    if taint["effect"] == "PreferNoSchedule" or taint["key"].startswith("node.kubernetes.io/"):
        return True
    return any(
        each.get("key", "") in ("", taint["key"])
        and each.get("effect", "") in ("", taint["effect"])
        and (each.get("operator") == "Exists" or each.get("value", "") == taint.get("value", ""))
        for each in tolerations
    )


def _uid_of(observed: Observed, job: str) -> str:
    return next((each.uid for each in observed.jobs if each.name == job), names.MANAGED)
