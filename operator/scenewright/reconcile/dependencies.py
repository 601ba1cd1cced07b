"""Which objects another one needs for its named inputs, and where those stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.plan import Plan
from scenewright.reconcile.decide.memory import read_status
from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import Dependency, DependencyState, ObjectKey, ObservedObject, Refusal
from scenewright_stages.contract.pipeline import NamedInput

PlanOf = Callable[[ObservedObject], Plan | Refusal]


def dependencies_of(
    key: ObjectKey, plan: Plan | Refusal, objects: ObjectStore, plan_of: PlanOf
) -> tuple[Dependency, ...]:
    """Where every object stands that a plan refers to, in the order of its inputs.

    Args:
        key: of the object whose plan it is.
        plan: of its spec as it is now.
        objects: all that are known.
        plan_of: plans another object, to follow what that one refers to.
    """
    wanted = plan.inputs if isinstance(plan, Plan) else ()
    return tuple(_dependency(key, each, objects, plan_of) for each in wanted if each.kind and each.object)


def _dependency(key: ObjectKey, wanted: NamedInput, objects: ObjectStore, plan_of: PlanOf) -> Dependency:
    other = ObjectKey(wanted.kind, key.namespace, wanted.object)
    stored = objects.get(other)
    if stored is None or stored.deleting:
        return Dependency(other, "Missing", wanted.name)
    if _leads_to(key, stored, objects, plan_of):
        return Dependency(other, "Cycle", wanted.name)
    if not stored.ended:
        return Dependency(other, _under_way(stored), wanted.name)
    if stored.phase != "Complete":
        return Dependency(other, "Failed", wanted.name)
    return _published(other, wanted, stored.unpacked())


def _under_way(stored: StoredObject) -> DependencyState:
    if stored.suspended:
        return "Suspended"
    return "Awaiting" if stored.rests else "Running"


def _published(other: ObjectKey, wanted: NamedInput, value: ObservedObject) -> Dependency:
    status = read_status(value.status)
    if status.plan_only:
        return Dependency(other, "PlannedOnly", wanted.name)
    if not status.publication.hash:
        return Dependency(other, "Unpublished", wanted.name)
    uri = str((value.spec.get("output") or {}).get("uri", ""))
    try:
        found = ResolvedInput.of(wanted, uri, status.publication.hash, status.publication.chosen)
    except KeyError:
        offered = ", ".join(sorted(status.publication.chosen)) or "none"
        return Dependency(other, "NotOffered", wanted.name, f"{wanted.chosen!r}; it offers: {offered}")
    return Dependency(other, "Complete", wanted.name, published=found)


def _leads_to(goal: ObjectKey, stored: StoredObject, objects: ObjectStore, plan_of: PlanOf) -> bool:
    """Whether an object, or one that it needs in turn, needs the goal."""
    seen: set[ObjectKey] = set()
    waiting = [stored]
    while waiting:
        current = waiting.pop()
        if current.key == goal:
            return True
        if current.key not in seen:
            seen.add(current.key)
            waiting += _needed(current, objects, plan_of)
    return False


def _needed(stored: StoredObject, objects: ObjectStore, plan_of: PlanOf) -> Iterator[StoredObject]:
    plan = plan_of(stored.unpacked())
    for reference in plan.references().values() if isinstance(plan, Plan) else ():
        found = objects.get(ObjectKey(reference.kind, stored.key.namespace, reference.name))
        if found is not None:
            yield found
