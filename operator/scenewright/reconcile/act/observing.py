"""Collects what one decision looks at, from memory only: makes no requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.plan import Plan
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.cache.observation import (
    Dependency,
    DependencyState,
    ObjectKey,
    Observed,
    ObservedObject,
    Refusal,
)
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.store import ObjectStore
from scenewright.reconcile.watch.routing import Router
from scenewright.telemetry.progress.store import ProgressStore
from scenewright_stages.contract.pipeline import NamedInput

PlanOf = Callable[[ObservedObject], Plan | Refusal]


def dependencies_of(
    key: ObjectKey, plan: Plan | Refusal, objects: ObjectStore, plan_of: PlanOf
) -> tuple[Dependency, ...]:
    """States of the objects that a plan refers to, in the order of its inputs. `plan_of` plans them to find cycles."""
    wanted = plan.inputs if isinstance(plan, Plan) else ()
    return tuple(_dependency(key, each, objects, plan_of) for each in wanted if each.kind and each.object)


def children_of(value: ObservedObject, plan: Plan | Refusal, objects: ObjectStore) -> dict[str, ObservedObject]:
    """The children of a sweep, and whatever else has one of their names."""
    if not isinstance(plan, Plan) or not plan.children:
        return {}
    wanted = {child.name for child in plan.children}
    near = [each for each in objects if (each.kind, each.namespace) == (value.kind, value.namespace)]
    return {each.name: each for each in near if each.name in wanted or each.owner_uid == value.uid}


def _dependency(key: ObjectKey, wanted: NamedInput, objects: ObjectStore, plan_of: PlanOf) -> Dependency:
    other = ObjectKey(wanted.kind, key.namespace, wanted.object)
    stored = objects.get(other)
    if stored is None or stored.deleting:
        return Dependency(other, "Missing", wanted.name)
    if _leads_to(key, stored, objects, plan_of):
        return Dependency(other, "Cycle", wanted.name)
    if not stored.ended:
        rests: DependencyState = "Awaiting" if stored.rests else "Running"
        return Dependency(other, "Suspended" if stored.suspended else rests, wanted.name)
    if stored.phase != "Complete":
        return Dependency(other, "Failed", wanted.name)
    return _published(other, wanted, stored)


def _published(other: ObjectKey, wanted: NamedInput, value: ObservedObject) -> Dependency:
    status = value.status
    if value.spec.get("matrix"):
        best = f", such as {status.sweep.best}" if status.sweep is not None and status.sweep.best else ""
        return Dependency(other, "NotOffered", wanted.name, f"results of its own: it is a sweep; name a child{best}")
    if status.plan_only:
        return Dependency(other, "PlannedOnly", wanted.name)
    if not status.publication.hash:
        return Dependency(other, "Unpublished", wanted.name)
    uri = value.text("output", "uri")
    try:
        found = ResolvedInput.of(wanted, uri, status.publication.hash, status.publication.chosen)
    except KeyError:
        offered = ", ".join(sorted(status.publication.chosen)) or "none"
        return Dependency(other, "NotOffered", wanted.name, f"{wanted.chosen!r}; it offers: {offered}")
    return Dependency(other, "Complete", wanted.name, published=found)


def _leads_to(goal: ObjectKey, stored: ObservedObject, objects: ObjectStore, plan_of: PlanOf) -> bool:
    """Whether the stored object is the goal or needs it, directly or through others."""
    seen: set[ObjectKey] = set()
    pending = [stored]
    while pending:
        current = pending.pop()
        if current.key == goal:
            return True
        if current.key not in seen:
            seen.add(current.key)
            plan = plan_of(current)
            needed = plan.references().values() if isinstance(plan, Plan) else ()
            found = (objects.get(ObjectKey(each.kind, current.namespace, each.name)) for each in needed)
            pending += [each for each in found if each is not None]
    return False


@dataclass(frozen=True)
class Observer:
    """Observes an object and everything that belongs to it."""

    known: Router
    inspector: Inspector
    progress: ProgressStore
    plans: PlanningCache

    def observe(self, value: ObservedObject) -> Observed:
        """The observation of an object."""
        known = self.known
        jobs = tuple(job for job in known.jobs.of_owner(value.uid) if job.namespace == value.namespace)
        pods = (pod for job in jobs for pod in known.pods.of_owner(job.uid) if pod.namespace == job.namespace)
        work = self.plans.plan(value)
        return Observed(
            object=value,
            work=work,
            jobs=jobs,
            pods=tuple(pod.unpacked() for pod in pods),
            progress=self.progress.of(value.uid, time.monotonic()),
            output_holder=known.outputs.holder(value.key),
            children=children_of(value, work, known.objects),
            place_in_line=known.line.ahead(value.key),
            workload=next(iter(known.workloads.of_owner(value.uid)), None),
            dependencies=dependencies_of(value.key, work, known.objects, self.plans.plan),
            answers=self.inspector.answers(value.uid),
        )
