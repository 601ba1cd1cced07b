"""Holds the quota of a whole object, by Kueue, from its first to its last stage with a GPU.

The object's own Workload stands for all of its stages: their Jobs name no queue, and run only while it is admitted.
When Kueue evicts it, the Jobs are deleted and the pass starts over at its index, which finds the finished samples.
Deleting the Workload gives the quota back; only what is left to do asks for it again.
"""

from __future__ import annotations

import json

from scenewright.api.status import ENDS, Admission
from scenewright.execution.jobs.resources import asks_for_gpu
from scenewright.execution.jobs.workload import HoldQuota, quota_queue, workload_hash, workload_manifest, workload_name
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Inspection, ObservedWorkload
from scenewright.reconcile.decide import endings
from scenewright.reconcile.decide.actions import Inspect, ReleaseQuota
from scenewright.reconcile.decide.blockers import NO_QUEUE, PENDING
from scenewright.reconcile.decide.context import DecisionContext, ObjectState, PartialDecision, Run, seconds_between

PREEMPTED = "Preempted"
_LEFT = ("Pending", "Waiting", "Running")


def needs_quota(plan: Plan, step: str) -> bool:
    """Whether the step may run only while the object's Workload is admitted."""
    return bool(quota_queue(plan)) and step in plan.keys and asks_for_gpu(plan, step)


def obtained(run: Run, doing: ObjectState) -> Run | PartialDecision:
    """The run with what Kueue has admitted it to, or what to do until then."""
    workload, hold = run.context.observed.workload, _hold(run)
    if workload is None or workload.deleting:
        return _asked(run, hold, doing)
    if workload.evicted:
        text = f"Kueue has evicted the object: {workload.message or 'it does not say why'}"
        return endings.restart_run(run, PREEMPTED, text)
    return _placed(run, workload, doing) if workload.admitted else _queued(run, workload, hold, doing)


def _queued(run: Run, workload: ObservedWorkload, hold: HoldQuota, doing: ObjectState) -> PartialDecision:
    """Waits for the admission; asks again if something else is needed by now."""
    if _is_outdated(run, workload, hold):
        return run.decided(doing, ReleaseQuota(workload.name, workload.uid), again_after=run.settings.look_again)
    waited = seconds_between(workload.created_at, run.now)
    if waited < run.settings.queue_pending:
        return run.decided(doing, again_after=run.settings.queue_pending - waited)
    text = f"waits in the queue {quota_queue(run.plan)} for all of its stages"
    said = f"{text}: {workload.message}" if workload.message else text
    return run.decided(ObjectState("Waiting", PENDING, said), again_after=run.settings.queue_answer_age)


def released(context: DecisionContext, partial: PartialDecision) -> PartialDecision:
    """The decision, with the quota given back once no stage with a GPU is left to run and none of their Jobs lives."""
    workload, plan = context.observed.workload, context.observed.work
    if workload is None or workload.deleting or any(isinstance(each, ReleaseQuota) for each in partial.actions):
        return partial
    if isinstance(plan, Plan):
        if any(not job.ended and needs_quota(plan, job.step) for job in context.observed.jobs):
            return partial
        memory, over = partial.memory, (*ENDS, "Suspended")
        is_under_way = memory.run and not memory.clearing and partial.state.phase not in over
        left = any(stage.state in _LEFT and needs_quota(plan, stage.name) for stage in memory.stages)
        if is_under_way and left and not workload.evicted:
            return partial
    return partial.also(ReleaseQuota(workload.name, workload.uid))


def _hold(run: Run) -> HoldQuota:
    """The quota that the pass needs: of each stage its shards, but at most `maxParallelism`."""
    most = run.plan.spec.execution.max_parallelism
    stages = (run.stages[name] for name in run.plan.selected if needs_quota(run.plan, name))
    pods = tuple((stage.name, min(stage.shards.total, most)) for stage in stages if stage.shards.total)
    return HoldQuota(run.memory.run, pods)


def _asked(run: Run, hold: HoldQuota, doing: ObjectState) -> PartialDecision:
    """Asks for the quota. What refuses the Workload, such as a Kueue that is not installed, is waited for."""
    name = workload_name(run.plan, run.context.observed.object)
    answer = run.context.answer(Inspection("failed-creates", name), run.settings.refusal_age)
    if answer is not None and answer.holds:
        doing = ObjectState("Waiting", NO_QUEUE, f"the Workload {name} cannot be created: {answer.message}")
    return run.decided(doing, hold, again_after=run.settings.look_again)


def _placed(run: Run, workload: ObservedWorkload, doing: ObjectState) -> Run | PartialDecision:
    """The run with the node labels and tolerations of the flavors that it was admitted to."""
    if run.memory.admission is not None and run.memory.admission.workload == workload.uid:
        return run
    questions = [Inspection("flavor", name) for name in workload.flavors]
    answers = [run.context.answer(each, run.settings.queue_answer_age) for each in questions]
    asks = [Inspect(question) for question, answer in zip(questions, answers, strict=True) if answer is None]
    if asks:
        return run.decided(doing, *asks, again_after=run.settings.answer_soon)
    specs = [json.loads(answer.message) for answer in answers if answer is not None and answer.holds]
    labels = {name: value for spec in specs for name, value in (spec.get("nodeLabels") or {}).items()}
    tolerations = [each for spec in specs for each in spec.get("tolerations") or ()]
    return run.remembering(admission=Admission(workload=workload.uid, node_selector=labels, tolerations=tolerations))


def _is_outdated(run: Run, workload: ObservedWorkload, hold: HoldQuota) -> bool:
    """Whether the object or the configuration was edited so that the Workload would ask for something else now."""
    try:
        wanted = workload_manifest(run.plan, run.context.observed.object, hold, run.settings.pods)
    except ValueError:
        return False
    return bool(workload_hash(wanted["spec"]) != workload.template)
