"""Runs an object with a matrix: applies one child object for each combination, and compares how they end.

The children are objects like any other, owned by the sweep: Kubernetes deletes them with it. The sweep has no Job.
"""

from __future__ import annotations

from scenewright.api.names import SWEEP
from scenewright.api.raw import Json
from scenewright.api.status import Status, Sweep, SweptChild
from scenewright.execution.jobs.job import owner_reference
from scenewright.execution.jobs.names import label_value
from scenewright.planning.plan import Plan
from scenewright.planning.sweep import Child
from scenewright.reconcile.cache.observation import ObservedObject
from scenewright.reconcile.decide.actions import Action, ApplyChild, DeleteObject
from scenewright.reconcile.decide.context import DecisionContext, ObjectState, PartialDecision, text_of
from scenewright.reconcile.decide.endings import deletions
from scenewright_stages.contract.keys import short_hash


def swept(context: DecisionContext, plan: Plan, memory: Status) -> PartialDecision:
    """What to do about the children, and how far they are."""
    owner, known = context.observed.object, context.observed.children
    foreign = [name for name, each in known.items() if each.owner_uid != owner.uid]
    if foreign:
        text = f"{owner.kind} {foreign[0]} exists and is no child of this sweep; delete or rename one of them"
        return PartialDecision(memory, ObjectState("Waiting", "ChildNameTaken", text))
    actions: list[Action] = [*deletions(context.observed.jobs, "the object is a sweep now")]
    actions += [
        ApplyChild(manifest_of(owner, child))
        for child in plan.children
        if (its := known.get(child.name)) is None or not (its.deleting or _is_up_to_date(child, its))
    ]
    wanted = {child.name for child in plan.children}
    actions += [
        DeleteObject(name, each.uid) for name, each in known.items() if name not in wanted and not each.deleting
    ]
    rows = [_row(child, known.get(child.name), plan) for child in plan.children]
    best = _best(rows, plan)
    memory = memory.model_copy(
        update={
            "sweep": Sweep(children=rows, best=best),
            "started_at": memory.started_at or text_of(context.now),
        }
    )
    state = _state(context, plan, rows, best)
    if state.phase in ("Complete", "Failed"):
        memory = memory.model_copy(update={"finished_at": text_of(context.now)})
    return PartialDecision(memory, state, tuple(actions), context.settings.look_again)


def _is_up_to_date(child: Child, known: ObservedObject) -> bool:
    return known.annotations.get(SWEEP) == short_hash(child.document["spec"])


def manifest_of(owner: ObservedObject, child: Child) -> Json:
    """The child's manifest."""
    metadata = {
        "name": child.name,
        "namespace": owner.namespace,
        "labels": {SWEEP: label_value(owner.name)},
        "annotations": {SWEEP: short_hash(child.document["spec"])},
        "ownerReferences": [owner_reference(owner)],
    }
    return {**child.document, "metadata": metadata}


def _row(child: Child, known: ObservedObject | None, plan: Plan) -> SweptChild:
    if known is None:
        return SweptChild(name=child.name, parameters=dict(child.parameters), phase="Pending")
    best, metric = plan.spec.matrix.best if plan.spec.matrix is not None else None, None
    if best is not None:
        measured = [each.numbers[best.metric] for each in known.status.stages if best.metric in each.numbers]
        metric = measured[-1] if measured else None
    # Until the child has seen its new spec, its phase is about the old one.
    phase = known.phase if known.is_current and _is_up_to_date(child, known) else "Pending"
    progress = known.status.progress
    return SweptChild(name=child.name, parameters=dict(child.parameters), phase=phase, progress=progress, metric=metric)


def _best(rows: list[SweptChild], plan: Plan) -> str:
    best = plan.spec.matrix.best if plan.spec.matrix is not None else None
    measured = [(row.metric, row.name) for row in rows if row.phase == "Complete" and row.metric is not None]
    if best is None or not measured:
        return ""
    return max(measured, key=lambda each: best.score(each[0]))[1]


def _state(context: DecisionContext, plan: Plan, rows: list[SweptChild], best: str) -> ObjectState:
    phases = [row.phase for row in rows]
    ended, complete = sum(phase in ("Complete", "Failed") for phase in phases), phases.count("Complete")
    if ended < len(rows):
        if plan.spec.suspend:
            still = [row.name for row in rows if row.phase not in ("Complete", "Failed", "Suspended")]
            reason = "Suspending" if still else "Suspended"
            return ObjectState("Suspended", reason, "the children are suspended; spec.suspend: false continues")
        return ObjectState("Running", "RunningChildren", f"{ended} of {len(rows)} children have ended")
    if not complete:
        return ObjectState("Failed", "NoChildComplete", f"none of {len(rows)} children is complete")
    found = f"; the best is {best}" if best else ""
    return ObjectState("Complete", "Succeeded", f"{complete} of {len(rows)} children are complete{found}")
