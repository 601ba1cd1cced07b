"""Starts a run if its preconditions hold; also handles suspended objects and refused specs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from scenewright.api.status import Status
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.line import IN_LINE
from scenewright.reconcile.cache.observation import DependencyState, ObservedJob, Refusal
from scenewright.reconcile.decide import budget, chain, counts, endings
from scenewright.reconcile.decide.context import DecisionContext, ObjectState, PartialDecision, Run, text_of
from scenewright.reconcile.decide.endings import deletions
from scenewright.reconcile.decide.memory import current_inputs, run_id, with_inputs, writing_of

_FATAL: dict[DependencyState, str] = {
    "Failed": "has failed",
    "Cycle": "needs this object in turn",
    "NotOffered": "offers no ",
}
_NOT_YET: dict[DependencyState, str] = {
    "Missing": "is not there",
    "Running": "is not complete",
    "Awaiting": "waits for a person's choice",
    "Suspended": "is suspended",
    "PlannedOnly": "was only planned",
    "Unpublished": "was published by an earlier version without a hash; `scenewright retry` of it writes one",
}


def refused(context: DecisionContext, memory: Status, refusal: Refusal) -> PartialDecision:
    """Fails an object with a refused spec. Nothing runs until the spec changes."""
    supported = all(problem.field != "kind" for problem in refusal.problems)
    reason = "InvalidSpec" if supported else "NotSupported"
    message = "; ".join(str(problem) for problem in refusal.problems)
    was_so = context.state_before.phase == "Failed" and context.state_before.reason == reason
    memory = Status(
        starts=memory.starts,
        conditions=memory.conditions,
        outputs=memory.outputs,
        retry_tokens=memory.retry_tokens,
        writing=memory.writing,
        finished_at=memory.finished_at if was_so else text_of(context.now),
    )
    actions = deletions(context.observed.jobs, "the spec is refused")
    return PartialDecision(memory, ObjectState("Failed", reason, message), tuple(actions))


def suspended(context: DecisionContext, memory: Status) -> PartialDecision:
    """Deletes the Jobs. Resuming starts a new run, which finds the finished samples."""
    jobs = context.observed.jobs
    stages = [counts.stopped(stage) for stage in memory.stages]
    memory = memory.model_copy(update={"run": "", "stage": "", "clearing": False, "stages": stages})
    if jobs:
        kept = endings.held(context)
        state = ObjectState("Suspended", "Suspending", kept.message if kept else "the Jobs are being deleted")
        ending = tuple(deletions(jobs, "the object is suspended"))
        return PartialDecision(memory, state, ending, context.settings.look_again)
    return PartialDecision(memory, ObjectState("Suspended", "Suspended", "nothing runs; spec.suspend: false continues"))


def started(context: DecisionContext, plan: Plan, memory: Status) -> PartialDecision:
    """Starts a run once the Jobs of earlier runs are gone and nothing blocks it."""
    start, inputs = memory.starts + 1, current_inputs(context.observed.dependencies)
    run = run_id(context.observed.object.uid, plan.work_hash, start, inputs)
    own, others = own_jobs(context.observed.jobs, run, plan.work_hash)
    ending = deletions(others, "it belongs to an earlier run")
    candidate = Run(context, plan, memory, own)
    obstacle = _obstacle(candidate)
    if obstacle is not None:
        return obstacle.also(*ending)
    if others:
        state = ObjectState("Pending", "EndingPreviousRun", "the Jobs of an earlier run are being deleted")
        return candidate.decided(endings.held(context) or state, *ending, again_after=context.settings.look_again)
    begun = replace(candidate, plan=with_inputs(plan, memory.model_copy(update={"inputs": inputs}))).remembering(
        run=run,
        inputs=inputs,
        starts=start,
        passes=1,
        restarts=0,
        clearing=False,
        spent=budget.without_stages(plan, memory),
        stages=[],
        failures=[],
        warnings=[],
        rejected=0,
        writing=writing_of(plan),
        plan_only=plan.spec.execution.plan_only,
        started_at=text_of(context.now),
        finished_at="",
    )
    return chain.proceed(begun)


def own_jobs(jobs: Iterable[ObservedJob], run: str, work_hash: str) -> tuple[dict[str, ObservedJob], list[ObservedJob]]:
    """The Jobs of this run by step, and all other Jobs."""
    own: dict[str, ObservedJob] = {}
    others: list[ObservedJob] = []
    for job in jobs:
        if job.run == run and job.work_hash == work_hash and job.step not in own:
            own[job.step] = job
        else:
            others.append(job)
    return own, others


def _obstacle(run: Run) -> PartialDecision | None:
    """Waits or fails if another object blocks the start: a dependency, or one that writes to the same output."""
    observed = run.context.observed
    for need in observed.dependencies:
        if need.state in _FATAL:
            return endings.failed(run, f"Dependency{need.state}", f"{need.key} {_FATAL[need.state]}{need.detail}")
    for need in observed.dependencies:
        if need.state in _NOT_YET:
            text = f"waits for {need.key}, which {_NOT_YET[need.state]}"
            return _waits(run, f"Dependency{need.state}", text)
    if observed.output_holder is not None and not run.plan.spec.execution.plan_only:
        is_near = observed.output_holder.namespace == observed.object.namespace
        # Nobody learns the names of another namespace's objects.
        who = str(observed.output_holder) if is_near else "an object of another namespace"
        text = f"waits for {who}, which writes to {run.plan.spec.output.uri} or into it or above it"
        return _waits(run, "OutputBusy", text)
    if observed.place_in_line:
        return _waits(run, IN_LINE, observed.place_in_line)
    return None


def _waits(run: Run, reason: str, message: str) -> PartialDecision:
    return run.decided(ObjectState("Waiting", reason, message), again_after=run.settings.look_again)
